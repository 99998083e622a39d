"""The nightly flow's own functions, without a Prefect server."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crm_core.errors import InputError, RunFailed, UnknownName
from crm_core.reporting import NotebookResult
from crm_core.workspace import Workspace
from flows import nightly
from tests.flows import corner


def ended_with(error: Exception) -> Any:
    return SimpleNamespace(result=lambda raise_on_failure: error)


def failed(error: str) -> NotebookResult:
    return NotebookResult("sales", "failed", 0.1, 0.2, 0.3, {}, error=error)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (InputError("a wrong file"), False),
        (UnknownName("a wrong name"), False),
        (RunFailed("the lake is being written"), True),
        (nightly.Unforeseen("disk", again=True), True),
        (nightly.Unforeseen("a mistake in the code", again=False), False),
        (nightly.NotebookFailed(failed("cell 3 ended with ValueError")), False),
        (nightly.NotebookFailed(failed("stopped after 900 seconds, the limit for a notebook")), False),
        (nightly.NotebookFailed(failed("the kernel died (out of memory, or killed)")), True),
        (nightly.NotebookFailed(failed("RuntimeError outside the cells")), True),
    ],
    ids=str,
)
def test_a_task_is_tried_again_only_where_that_may_help(error: Exception, again: bool) -> None:
    assert nightly.worth_trying_again(None, None, ended_with(error)) is again


def test_an_unforeseen_error_leaves_the_task_without_its_text(tmp_path: Path) -> None:
    with pytest.raises(nightly.Unforeseen) as caught, nightly.short_errors(str(tmp_path), "load of shop"):
        raise KeyError("13800138000")
    assert str(caught.value) == "load of shop: unforeseen KeyError; where it arose is in data/prefect/unforeseen.log"
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert not caught.value.again
    kept = tmp_path / "data" / "prefect" / "unforeseen.log"
    assert "13800138000" in kept.read_text() and kept.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_tried_again_and_our_own_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(nightly.Unforeseen) as caught, nightly.short_errors(str(tmp_path), "index"):
        raise OSError(28, "No space left on device")
    assert caught.value.again
    with pytest.raises(InputError, match=r"^line 3 is wrong$"), nightly.short_errors(str(tmp_path), "index"):
        raise InputError("line 3 is wrong")


def test_each_notebook_gets_the_parameters_that_it_declares_and_no_other_is_taken(tmp_path: Path) -> None:
    workspace = Workspace.open(corner.make(tmp_path / "shop", {"one": corner.GOOD, "two": corner.GOOD}))
    assert nightly.per_notebook(workspace, ["one", "two"], {"times": 3}) == {"one": {"times": 3}, "two": {"times": 3}}
    with pytest.raises(UnknownName, match=r"parameter 'tims' is not known in notebook one, two; did you mean 'times'"):
        nightly.per_notebook(workspace, ["one", "two"], {"tims": 3})


def test_the_steps_do_their_work_as_plain_functions(tmp_path: Path) -> None:
    root = str(corner.make(tmp_path / "我的 数据 100%", {"one": corner.GOOD, "two": corner.BAD}))
    load = nightly.load_inbox.fn(root, "corner_shop")
    assert load["problems"] == load["left"] == {}
    assert load["read"] == load["accepted"] + load["duplicate"] + load["rejected"] == 39
    assert nightly.load_inbox.fn(root, "corner_shop")["load_id"] == ""
    run_id = nightly.refresh_results.fn(root, "", {}, "zh")
    good = nightly.make_report.fn(root, run_id, "one", {"times": 2})
    with pytest.raises(nightly.NotebookFailed, match=r"^two: cell . ended with ValueError$") as caught:
        nightly.make_report.fn(root, run_id, "two", {})
    assert nightly.publish_index.fn(root, run_id, [good, caught.value.result], {}) == "failed"
    opened = Workspace.open(root)
    summary = nightly.summarise(opened, run_id, [load], {}, 12.34)
    assert summary["notebooks"] == {"one": "ok", "two": "failed"}
    assert list(summary["errors"]) == ["two"]
    shown = nightly.as_markdown(summary)
    assert f"`reports/{run_id}/one.html`" in shown and "failed; the last good report stays" in shown
    assert "read 39 = accepted" in shown and corner.PHONE not in shown and root not in shown


def test_a_load_that_failed_makes_the_run_failed_although_its_notebooks_are_good(tmp_path: Path) -> None:
    root = str(corner.make(tmp_path / "shop", {"one": corner.GOOD}))
    nightly.load_inbox.fn(root, "corner_shop")
    run_id = nightly.refresh_results.fn(root, "", {}, "en")
    good = nightly.make_report.fn(root, run_id, "one", {})
    problems = {"load of corner_shop": "load of corner_shop: broken.csv is not a table"}
    assert nightly.publish_index.fn(root, run_id, [good], problems) == "failed"
    summary = nightly.summarise(Workspace.open(root), run_id, [], problems, 1.0)
    assert summary["state"] == "failed" and summary["errors"] == problems and summary["notebooks"] == {"one": "ok"}
