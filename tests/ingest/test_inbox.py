"""The inbox: what is at rest is loaded and goes, everything else stays and is named."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crm_core.cli import run
from crm_core.config import parse_yaml
from crm_core.config.sources import SourceSettings
from crm_core.ingest import InboxReport, inbox, take_in
from tests.flows import corner
from tests.ingest.corner_shop import EXAMPLE, Shop, open_shop, order, orders_file, text_of, write

QUICK = "inbox: {settle_seconds: 0, after: delete}"
CHILD = """
import os, signal, sys
from pathlib import Path
from crm_core.ingest import inbox
from tests.ingest.corner_shop import open_shop
from tests.ingest.test_inbox import in_shop, texts
inbox.remove = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
in_shop(open_shop(Path(sys.argv[1]), texts()), Path(sys.argv[2]))
"""


def texts(inbox_settings: str = QUICK) -> dict[str, str]:
    old = next(line for line in EXAMPLE.splitlines() if line.startswith("inbox:"))
    return {"sources/corner_shop.yml": EXAMPLE.replace(old, inbox_settings, 1)}


def settings(inbox_settings: str = QUICK) -> SourceSettings:
    return parse_yaml(texts(inbox_settings)["sources/corner_shop.yml"], SourceSettings, "corner_shop.yml")


@pytest.fixture
def quick(tmp_path: Path) -> Shop:
    return open_shop(tmp_path / "shop", texts())


def in_shop(shop: Shop, folder: Path) -> InboxReport:
    return take_in(shop.config, shop.lake, shop.vault, "corner_shop", folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def writer(path: Path, script: str) -> Iterator[None]:
    """Another process that writes to `path` until it is no longer needed."""
    code = f"import sys, time\npath = sys.argv[1]\n{script}"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_files_at_rest_are_loaded_and_go_and_the_others_stay_and_are_named(quick: Shop, files: Path) -> None:
    orders_file(files, 1, 2)
    with zipfile.ZipFile(files / "a.zip", "w") as packed:
        packed.writestr("订单3.csv", text_of([order(3)]))
    with zipfile.ZipFile(files / "b.zip", "w") as packed:
        packed.writestr("订单4.csv", text_of([order(4)]))
        packed.writestr("新表.csv", "a,b\n1,2\n")
    for name in ("订单5.csv.part", "notes.txt", ".hidden"):
        (files / name).write_text("x")
    (files / "older").mkdir()
    report = in_shop(quick, files)
    assert (report.total("read"), report.total("accepted"), report.problems) == (4, 4, {})
    assert report.removed == ("a.zip", "订单1.csv")
    assert report.left == {
        "b.zip": "part of the archive belongs to no feed",
        "notes.txt": "no feed of this source takes a file of this name",
        "older": "not a file; files lie in the source's folder itself",
        "订单5.csv.part": "unfinished by its name",
    }
    assert names(files) == [".hidden", "b.zip", "notes.txt", "older", "订单5.csv.part"]
    again = in_shop(quick, files)
    assert (again.total("read"), names(files)[1]) == (0, "b.zip")


def test_a_file_that_another_process_has_open_to_write_is_left(quick: Shop, files: Path) -> None:
    path = orders_file(files, 1)
    with writer(path, "out = open(path, 'a')\nprint(flush=True)\ntime.sleep(600)"):
        report = in_shop(quick, files)
        assert report.left == {path.name: "another program has it open to write"}
        assert report.loads == ()
    assert in_shop(quick, files).removed == (path.name,)


def test_a_file_that_grows_within_the_settle_time_is_left(tmp_path: Path, files: Path) -> None:
    shop = open_shop(tmp_path / "shop", texts("inbox: {settle_seconds: 1}"))
    path = orders_file(files, 1)
    script = "while True:\n    open(path, 'ab').write(b'x')\n    print(flush=True)\n    time.sleep(0.1)"
    with writer(path, script):
        assert in_shop(shop, files).left == {path.name: "still being written to"}
    assert path.exists()


def test_files_that_shall_stay_are_known_by_their_hash(tmp_path: Path, files: Path) -> None:
    shop = open_shop(tmp_path / "shop", texts("inbox: {settle_seconds: 0, after: leave}"))
    path = orders_file(files, 1, 2)
    assert in_shop(shop, files).total("accepted") == 2
    again = in_shop(shop, files)
    assert path.exists() and again.loads[0].nothing_new and again.removed == ()


def test_a_file_that_cannot_be_loaded_stays_and_stops_no_other(quick: Shop, files: Path) -> None:
    orders_file(files, 1)
    orders_file(files, 2, name="订单2.csv")
    write(files / "订单3.csv", "订单编号,总金额\n1,2\n")
    (files / "订单4.zip").write_bytes(b"PK\x03\x04 cut")
    report = in_shop(quick, files)
    assert report.total("accepted") == 2
    assert set(report.problems) == {"订单3.csv", "订单4.zip"}
    assert "heading '下单时间' is missing" in report.problems["订单3.csv"]
    assert names(files) == ["订单3.csv", "订单4.zip"]


def test_a_kill_between_publishing_and_removing_is_made_good_by_the_next_run(tmp_path: Path, files: Path) -> None:
    path = orders_file(files, 1, 2)
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path / "shop"), str(files)], check=False)
    assert done.returncode == -signal.SIGKILL
    shop = open_shop(tmp_path / "shop", texts())
    assert path.exists() and len(shop.rows("orders")) == 2
    report = in_shop(shop, files)
    assert report.loads[0].nothing_new and report.removed == (path.name,)
    assert len(shop.rows("orders")) == 2 and names(files) == []


def test_a_file_on_its_way_out_when_the_process_was_killed_is_found_again(quick: Shop, files: Path) -> None:
    orders_file(files, 1).rename(files / f"{inbox.TAKEN}订单1.csv")
    assert in_shop(quick, files).removed == ("订单1.csv",)
    orders_file(files, 2).rename(files / f"{inbox.TAKEN}订单1.csv")
    orders_file(files, 3)
    inbox.at_rest(files, settings().inbox)
    assert len(names(files)) == 2 and "订单1.csv" in names(files) and names(files)[0].endswith("_订单1.csv")


def test_a_file_that_changed_after_it_was_loaded_is_kept(quick: Shop, files: Path) -> None:
    path = orders_file(files, 1)
    report = quick.load(path)
    orders_file(files, 1, 2)
    assert inbox.remove(settings(), path, report) == "it changed after it was loaded"
    assert in_shop(quick, files).total("accepted") == 2
    assert len(quick.rows("orders")) == 2


def test_the_command_loads_every_folder_and_names_one_that_is_no_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = corner.make(tmp_path / "shop", {})
    strange = root / "data" / "inbox" / "corner_shpo"
    strange.mkdir()
    (strange / "订单.csv").write_text("a\n")
    assert run(["--workspace", str(root), "ingest", "--inbox", "--json"]) == 2
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [source["source"] for source in found["sources"]] == ["corner_shop"]
    assert found["sources"][0]["loads"][0]["accepted"] == 39
    assert "source 'corner_shpo' is not known" in said.err and "did you mean 'corner_shop'" in said.err
    assert names(root / "data" / "inbox" / "corner_shop") == [] and names(strange) == ["订单.csv"]
    assert run(["--workspace", str(root), "ingest", "corner_shop", "--inbox"]) == 0
    assert "nothing to load lies in" in capsys.readouterr().out
