"""`crm run` before a gate that is closed: what is made, what stays, what is said, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crm_core.reporting.publish import latest, read_runs
from crm_core.store.ledger import Run
from crm_core.workspace import Workspace
from flows import nightly
from tests.flows import corner
from tests.reporting.browser import Browser
from tests.require import chromium, need

CRM = Path(sys.executable).parent / "crm"
pytestmark = pytest.mark.slow


def crm(root: Path, *words: str, code: int) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CRM_", "PREFECT_"))}
    command = [CRM, "--workspace", str(root), "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == code and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop after a good run, whose gate was closed since."""
    made = {"data_health": corner.GOOD, "one": corner.GOOD, "two": corner.GOOD}
    folder = corner.make(tmp_path_factory.mktemp("gate") / "我的 数据 100%", made)
    nightly.load_inbox.fn(str(folder), "corner_shop")
    good = json.loads(crm(folder, "--json", code=0).stdout)
    assert good["state"] == "done" and good["gate"] == {} and good["held"] == []
    settings = folder / "conf" / "reports.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("  - data_health\n", ""), encoding="utf-8")
    corner.close_gate(folder)
    return folder


def test_only_data_health_is_made_and_the_message_says_check_found_and_allowed(root: Path) -> None:
    done = crm(root, code=1)
    assert "held back one, two (held back by the gate: completeness of orders.city: found 0, allowed at least 0.9;" in done.stderr
    assert "--ignore-gate" in done.stderr
    run = read_runs(root / "reports")[0]
    assert {name: entry["status"] for name, entry in run["notebooks"].items()} == {
        "data_health": "ok", "one": "held", "two": "held",
    }  # fmt: skip
    assert run["gate"]["checks"][0] | {"allowed": 0.9, "found": 0.0} == run["gate"]["checks"][0]
    listed = {each.name: each for each in latest(read_runs(root / "reports"))}
    assert listed["one"].held and listed["one"].stale and not listed["data_health"].stale
    assert (root / "reports" / listed["one"].path).is_file()
    page = (root / "reports" / "index.html").read_text(encoding="utf-8")
    assert "数据未过门禁，其余报告没有更新" in page and "完整度（订单 · 城市）：实际 <strong>0.0%</strong>，至少应为 90.0%" in page
    stored = Workspace.open(root).ledger.get(Run, run["run_id"])
    assert stored is not None and stored.state == "failed" and stored.detail["gate"] == run["gate"]


def test_ignoring_the_gate_makes_every_report_and_marks_the_run_and_the_index(root: Path) -> None:
    done = json.loads(crm(root, "--ignore-gate", "--json", code=0).stdout)
    assert set(done["reports"]) == {"data_health", "one", "two"} and done["gate"]["ignored"]
    page = (root / "reports" / "index.html").read_text(encoding="utf-8")
    assert "但被要求照常出报告" in page and "未过门禁，没有更新" not in page


@pytest.mark.browser
def test_the_index_of_a_closed_gate_fits_a_phone(root: Path) -> None:
    need(chromium(), "chromium (apt install chromium)")
    crm(root, "--language", "en", code=1)
    with Browser() as browser:
        seen = browser.open(root / "reports" / "index.html", 390)
    assert "The data did not pass the gate" in seen.text and seen.overflow <= 0 and seen.console == []


def test_a_check_of_what_does_not_exist_is_bad_input_before_anything_is_done(root: Path) -> None:
    settings = root / "conf" / "reports.yml"
    before = settings.read_text(encoding="utf-8")
    runs_before = len(read_runs(root / "reports"))
    settings.write_text(before.replace("orders.city", "orders.citi"), encoding="utf-8")
    try:
        assert "did you mean 'city'" in crm(root, code=2).stderr
    finally:
        settings.write_text(before, encoding="utf-8")
    assert len(read_runs(root / "reports")) == runs_before
