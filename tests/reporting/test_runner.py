"""The runner: strict, warm, watched, and nothing half-made is published."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from crm_core.errors import InputError, UnknownName
from crm_core.reporting import Job, run_notebook, run_notebooks
from tests.reporting.toys import Make

GOOD = "print('the answer')"


def published(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("*") if path.is_file() and ".failed" not in path.parts)


def test_a_good_notebook_is_published_as_page_and_notebook_with_its_seconds(make_notebook: Make, tmp_path: Path) -> None:
    result = run_notebook(make_notebook("good", GOOD), out_dir=tmp_path / "out")
    assert result.ok and published(tmp_path / "out") == ["good.html", "good.ipynb"]
    assert "the answer" in result.html.read_text(encoding="utf-8")
    assert result.seconds_in_kernel_start > 0 and result.seconds_in_cells > 0
    assert result.seconds == pytest.approx(result.seconds_in_kernel_start + result.seconds_in_cells, abs=0.01)


def test_parameters_reach_the_cells(make_notebook: Make, tmp_path: Path) -> None:
    path = make_notebook("given", "print(f'got {top} of {names}')", parameters="top: int = 1\nnames: list[str] = []")
    result = run_notebook(path, {"top": 7, "names": ["甲"]}, out_dir=tmp_path / "out")
    assert "got 7 of [&#39;甲&#39;]" in result.html.read_text(encoding="utf-8")


def test_code_in_a_parameter_name_is_refused_and_never_runs(make_notebook: Make, tmp_path: Path) -> None:
    path = make_notebook("strict", GOOD, parameters="top: int = 1")
    with pytest.raises(UnknownName, match=r"is not known in notebooks/strict.ipynb"):
        run_notebook(path, {f'y=open("{tmp_path}/pwned","w") #': 1}, out_dir=tmp_path / "out")
    assert not (tmp_path / "pwned").exists() and not (tmp_path / "out").exists()


def test_code_in_a_parameter_value_stays_text(make_notebook: Make, tmp_path: Path) -> None:
    path = make_notebook("value", "print(len(text))", parameters="text: str = ''")
    hostile = f"'\n\"\"\" + open('{tmp_path}/pwned', 'w') #"
    assert run_notebook(path, {"text": hostile}, out_dir=tmp_path / "out").ok
    assert not (tmp_path / "pwned").exists()


def test_a_wrong_parameter_of_one_notebook_starts_none(make_notebook: Make, tmp_path: Path) -> None:
    jobs = [Job(make_notebook("a", GOOD)), Job(make_notebook("b", GOOD, parameters="top: int = 1"), {"top": "x"})]
    with pytest.raises(InputError, match="takes int"):
        run_notebooks(jobs, out_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_language_is_refused(make_notebook: Make, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="language 'fr' is not known"):
        run_notebook(make_notebook("good", GOOD), language="fr", out_dir=tmp_path)


def test_a_failing_notebook_leaves_the_last_good_report_and_says_which_cell(make_notebook: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_notebook(make_notebook("report", GOOD), out_dir=out).ok
    before = (out / "report.html").read_bytes()
    failed = run_notebook(make_notebook("report", "1", "raise ValueError('13800138000')"), out_dir=out)
    assert failed.status == "failed" and failed.html is None
    assert failed.error == "cell 2 ended with ValueError"  # the message may hold values of members
    assert (out / "report.html").read_bytes() == before and published(out) == ["report.html", "report.ipynb"]
    assert failed.failed_copy is not None and oct(failed.failed_copy.parent.stat().st_mode)[-3:] == "700"


def test_our_own_errors_are_quoted(make_notebook: Make, tmp_path: Path) -> None:
    code = "from crm_core.errors import InputError\nraise InputError('no such day')"
    assert run_notebook(make_notebook("own", code), out_dir=tmp_path / "out").error == "cell 1 ended with InputError: no such day"


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_a_kernel_that_ends_early_is_a_failure(make_notebook: Make, tmp_path: Path, code: str) -> None:
    result = run_notebook(make_notebook("gone", code, GOOD), out_dir=tmp_path / "out", timeout=60)
    assert result.status == "failed" and result.error and not published(tmp_path / "out")


def test_a_notebook_that_hangs_is_stopped_and_its_children_with_it(make_notebook: Make, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = f"open('{note}', 'w').write(str(subprocess.Popen(['sleep', '600']).pid))"
    code = f"import subprocess, time\n{child}\ntime.sleep(600)"
    began = time.monotonic()
    result = run_notebook(make_notebook("hang", code), out_dir=tmp_path / "out", timeout=12, cell_timeout=500)
    assert result.status == "failed" and "stopped after 12 seconds" in result.error
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        for _ in range(50):
            os.kill(int(note.read_text()), 0)
            time.sleep(0.1)


def test_a_cell_that_takes_too_long_is_named(make_notebook: Make, tmp_path: Path) -> None:
    result = run_notebook(make_notebook("slow", "import time; time.sleep(60)"), out_dir=tmp_path / "out", cell_timeout=2)
    assert result.error == "a cell took longer than 2 seconds"


def test_one_failing_notebook_stops_no_other_and_results_keep_their_order(make_notebook: Make, tmp_path: Path) -> None:
    jobs = [Job(make_notebook("a", GOOD)), Job(make_notebook("b", "1/0")), Job(make_notebook("c", GOOD))]
    seen: list[str] = []
    results = run_notebooks(jobs, out_dir=tmp_path / "out", on_result=lambda result: seen.append(result.notebook))
    assert [(result.notebook, result.ok) for result in results] == [("a", True), ("b", False), ("c", True)]
    assert sorted(seen) == ["a", "b", "c"]


def test_the_stock_provisioner_gives_the_same_page(make_notebook: Make, tmp_path: Path) -> None:
    path = make_notebook("plain", GOOD)
    pages = []
    for forked in (True, False):
        assert run_notebook(path, out_dir=tmp_path / str(forked), forked=forked).ok
        text = (tmp_path / str(forked) / "plain.html").read_text(encoding="utf-8")
        pages.append([line for line in text.splitlines() if "made" not in line.lower() and "生成于" not in line])
    assert pages[0] == pages[1]


def test_the_kernel_gets_the_environment_and_the_folder_of_the_notebook(make_notebook: Make, tmp_path: Path) -> None:
    path = make_notebook("env", "import os; print(os.environ['MARK'], os.environ['CRM_LANGUAGE'], os.getcwd())")
    result = run_notebook(path, out_dir=tmp_path / "out", env={"MARK": "here"}, language="en")
    assert f"here en {tmp_path}" in result.html.read_text(encoding="utf-8")


def test_the_published_notebook_holds_no_path_of_this_machine_and_no_stderr(make_notebook: Make, tmp_path: Path) -> None:
    code = "import sys; print('loud', file=sys.stderr); print('fine')"
    result = run_notebook(make_notebook("clean", code), out_dir=tmp_path / "out")
    text = result.ipynb.read_text(encoding="utf-8")
    assert str(tmp_path) not in text and "loud\\n" not in text and "fine" in text
    assert json.loads(text)["metadata"]["language"] == "zh"


def test_a_folder_name_with_braces_and_blanks_is_no_template(make_notebook: Make, tmp_path: Path) -> None:
    odd = tmp_path / "我的 {数据} 100%"
    odd.mkdir()
    moved = make_notebook("odd", GOOD).rename(odd / "odd.ipynb")
    assert run_notebook(moved, out_dir=odd / "out").ok
