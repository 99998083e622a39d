"""run.json tells everything about a run; the index keeps the last good report and marks it when an update
failed."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from crm_core.errors import InputError
from crm_core.reporting import NotebookResult, RunFacts, new_run_id, write_index, write_run


def result(reports: Path, run_id: str, name: str, *, ok: bool = True, sentence: str = "") -> NotebookResult:
    """A result with its files, as the runner leaves it."""
    files = {}
    if ok:
        (reports / run_id).mkdir(parents=True, exist_ok=True)
        for kind, suffix in (("html", ".html"), ("ipynb", ".ipynb")):
            files[kind] = reports / run_id / f"{name}{suffix}"
            files[kind].write_text(f"{run_id} {name}")
    summary = {"title": name.upper(), "sentence": sentence, "cards": [], "as_of": "2026-10-31"} if ok else {}
    return NotebookResult(
        notebook=name, status="ok" if ok else "failed", seconds_in_kernel_start=0.4, seconds_in_cells=1.2,
        seconds=1.6, parameters={"as_of": "2026-10-31"}, error="" if ok else "cell 3 ended with KeyError",
        summary=summary, **files,
    )  # fmt: skip


def run(reports: Path, run_id: str, hour: int, *results: NotebookResult) -> dict:
    moment = dt.datetime(2026, 11, 1, hour, tzinfo=dt.UTC)
    facts = RunFacts(run_id, "2026-10-31", "zh", snapshot=7, versions={"orders": 3}, config_hash="abc", seed=1, project="示例")
    return json.loads(write_run(reports, facts, results, started_at=moment, now=moment).read_text(encoding="utf-8"))


def index(reports: Path, language: str = "zh") -> str:
    return write_index(reports, language=language).read_text(encoding="utf-8")


def test_run_json_pins_what_was_read_with_hashes_and_seconds(tmp_path: Path) -> None:
    manifest = run(tmp_path, "r1", 1, result(tmp_path, "r1", "rfm"), result(tmp_path, "r1", "tags", ok=False))
    pinned = {
        "run_id": "r1", "as_of": "2026-10-31", "snapshot": 7, "versions": {"orders": 3}, "config_hash": "abc",
        "seed": 1, "status": "failed",
    }  # fmt: skip
    assert pinned.items() <= manifest.items()
    assert manifest["package_version"] and "git_commit" in manifest
    assert manifest["seconds"] == {"kernel_start": 0.8, "cells": 2.4}
    rfm = manifest["notebooks"]["rfm"]
    assert rfm["files"] == {"html": "r1/rfm.html", "ipynb": "r1/rfm.ipynb"} and len(rfm["sha256"]["html"]) == 64
    assert manifest["notebooks"]["tags"]["error"] == "cell 3 ended with KeyError"


def test_the_index_lists_reports_with_their_sentence_and_runs_newest_first(tmp_path: Path) -> None:
    run(tmp_path, "r1", 1, result(tmp_path, "r1", "rfm", sentence="旧的"))
    run(tmp_path, "r2", 2, result(tmp_path, "r2", "rfm", sentence="新的"))
    text = index(tmp_path)
    assert 'href="r2/rfm.html"' in text and "新的" in text and "旧的" not in text and "已过期" not in text
    assert text.index("r2/rfm.html", text.index("运行记录")) < text.index("r1/rfm.html")


def test_a_failed_update_leaves_the_last_good_report_marked_out_of_date(tmp_path: Path) -> None:
    run(tmp_path, "r1", 1, result(tmp_path, "r1", "rfm", sentence="上次的结论"))
    run(tmp_path, "r2", 2, result(tmp_path, "r2", "rfm", ok=False))
    text = index(tmp_path)
    assert "上次的结论" in text and 'href="r1/rfm.html"' in text and "已过期" in text
    run(tmp_path, "r3", 3, result(tmp_path, "r3", "rfm"))
    assert "已过期" not in index(tmp_path)


def test_a_notebook_that_never_succeeded_is_named(tmp_path: Path) -> None:
    run(tmp_path, "r1", 1, result(tmp_path, "r1", "rfm", ok=False))
    assert "还没有可看的报告" in index(tmp_path) and "there is no report yet" in index(tmp_path, "en")


def test_a_broken_manifest_is_no_run_and_does_not_stop_the_index(tmp_path: Path) -> None:
    run(tmp_path, "r1", 1, result(tmp_path, "r1", "rfm"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert "r1/rfm.html" in index(tmp_path)


def test_text_of_a_report_is_escaped_on_the_index(tmp_path: Path) -> None:
    run(tmp_path, "r1", 1, result(tmp_path, "r1", "rfm", sentence="<script>alert(1)</script>"))
    assert "<script" not in index(tmp_path)


def test_an_index_without_runs_says_how_to_make_one_and_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    assert "crm run" in index(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        write_index(tmp_path / "none")


def test_run_ids_sort_by_time_and_do_not_repeat() -> None:
    early = new_run_id(dt.datetime(2026, 11, 1, 1, tzinfo=dt.UTC))
    late = new_run_id(dt.datetime(2026, 11, 1, 2, tzinfo=dt.UTC))
    assert early < late and len({new_run_id() for _ in range(50)}) == 50
