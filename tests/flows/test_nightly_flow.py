"""The nightly flow on a real temporary server: what it publishes, what it keeps to itself, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from crm_core import runs
from crm_core.doctor import examine
from crm_core.errors import UnknownName
from crm_core.reporting.publish import latest, read_runs
from crm_core.store.ledger import Run
from crm_core.workspace import Workspace
from flows import local_server, nightly
from tests.flows import corner
from tests.ingest.corner_shop import text_of
from tests.ingest.database_shop import SOURCE, open_database_shop, order

pytestmark = pytest.mark.slow
HALF_A_RUN = """
import sys, time
from crm_core import runs
from crm_core.workspace import Workspace
print(runs.begin(Workspace.open(sys.argv[1]), {}, "zh"), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after its first good run would have been asked for; its folder has a hard name."""
    return corner.make(tmp_path_factory.mktemp("flow") / "我的 数据 100%", {"one": corner.GOOD, "two": corner.GOOD})


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[local_server.Server]:
    """One temporary server for the runs of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("PREFECT_HOME", str(root.parent / "user"))
        with nightly.start_server_early(str(root)) as started:
            yield started


@pytest.fixture(scope="module")
def first(root: Path, server: local_server.Server) -> str:
    """The run_id of the first run."""
    return nightly.run(str(root), server=server)


def said_to_prefect(root: Path) -> bytes:
    home = local_server.home_of(root)
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file() and path.name != "unforeseen.log")


def test_the_inbox_is_loaded_and_every_notebook_published(root: Path, first: str) -> None:
    facts = runs.summary(Workspace.open(root), first)
    assert facts["state"] == "done"
    assert {name: Path(path).is_file() for name, path in facts["reports"].items()} == {"one": True, "two": True}
    assert (root / "reports" / "index.html").is_file()
    manifest = json.loads((root / "reports" / first / "run.json").read_text())
    assert manifest["status"] == "ok"


def test_its_server_listens_on_loopback_only_and_asks_for_a_password(server: local_server.Server, first: str) -> None:
    assert server.process is not None
    open_ports = [each for each in psutil.Process(server.process.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in open_ports} == {"127.0.0.1"}
    assert not local_server._answers(server.url.replace("/api", "/api/flows"), "", 5.0)


def test_prefect_keeps_the_result_as_json_and_the_summary_as_an_artifact(
    root: Path, server: local_server.Server, first: str
) -> None:
    stored = [path.read_text() for path in (local_server.home_of(root) / "storage").rglob("*") if path.is_file()]
    assert any(first in text and json.loads(text) for text in stored)
    from prefect.client.orchestration import get_client

    with local_server.connected(server), get_client(sync_client=True) as client:
        kept = client.request("POST", "/artifacts/filter", json={}).json()
    shown = [each["data"] for each in kept if each["key"] == nightly.ARTIFACT]
    assert any(first in text and "read 39 = accepted" in text for text in shown)


def test_wrong_input_is_refused_before_a_run_is_opened(root: Path, server: local_server.Server, first: str) -> None:
    before = len(read_runs(root / "reports"))
    with pytest.raises(UnknownName, match="notebook 'ones' is not known in notebooks/; did you mean 'one'"):
        nightly.run(str(root), notebooks=["ones"], server=server)
    assert len(read_runs(root / "reports")) == before


def test_a_failing_notebook_stops_no_other_and_its_last_report_stays_marked(
    root: Path, server: local_server.Server, first: str
) -> None:
    corner.write_notebook(root, "two", corner.BAD)
    try:
        second = nightly.run(str(root), server=server)
    finally:
        corner.write_notebook(root, "two", corner.GOOD)
    facts = runs.summary(Workspace.open(root), second)
    assert facts["state"] == "failed" and list(facts["reports"]) == ["one"] and facts["failed"] == ["two"]
    listed = {each.name: each for each in latest(read_runs(root / "reports"))}
    assert listed["two"].stale and listed["two"].path.startswith(first) and not listed["one"].stale
    assert (root / "reports" / listed["two"].path).is_file()
    assert corner.PHONE.encode() not in said_to_prefect(root)


def test_a_file_that_cannot_be_loaded_fails_the_run_and_the_reports_are_made(
    root: Path, server: local_server.Server, first: str
) -> None:
    corner.deliver(root, "订单_2.csv", text_of([corner.bought(50)], ["订单编号", "订单编号"]))
    try:
        run_id = nightly.run(str(root), server=server)
    finally:
        (root / "data" / "inbox" / "corner_shop" / "订单_2.csv").unlink()
    workspace = Workspace.open(root)
    facts = runs.summary(workspace, run_id)
    assert facts["state"] == "failed" and set(facts["reports"]) == {"one", "two"} and not facts["failed"]
    assert "订单_2.csv" in runs.find_run(workspace, run_id).detail["problems"]["load of corner_shop"]


def test_a_gate_that_closes_holds_the_others_back_and_the_index_says_why(
    root: Path, server: local_server.Server, first: str
) -> None:
    settings = root / "conf" / "reports.yml"
    before = settings.read_text(encoding="utf-8")
    corner.write_notebook(root, "data_health", corner.GOOD)
    corner.close_gate(root)
    try:
        closed = nightly.run(str(root), server=server)
        ignored = nightly.run(str(root), ignore_gate=True, server=server)
    finally:
        settings.write_text(before, encoding="utf-8")
    workspace = Workspace.open(root)
    facts = runs.summary(workspace, closed)
    assert facts["state"] == "failed" and list(facts["reports"]) == ["data_health"] and facts["held"] == ["one", "two"]
    gate = runs.find_run(workspace, closed).detail["gate"]
    assert not gate["passed"] and not gate["ignored"] and [check["check"] for check in gate["checks"]] == ["completeness"]
    anyway = runs.summary(workspace, ignored)
    assert anyway["state"] == "done" and set(anyway["reports"]) == {"data_health", "one", "two"}
    assert anyway["gate"]["ignored"] and not anyway["held"]


def test_a_run_that_was_killed_is_marked_interrupted_by_the_next(root: Path, server: local_server.Server, first: str) -> None:
    command = [sys.executable, "-c", HALF_A_RUN, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as half:
        assert half.stdout is not None
        killed = half.stdout.readline().strip()
        os.kill(half.pid, signal.SIGKILL)
    workspace = Workspace.open(root)
    assert runs.find_run(workspace, killed).state == "running"
    last = nightly.run(str(root), notebooks=["one"], ingest_inbox=False, server=server)
    assert runs.find_run(workspace, killed).state == "interrupted"
    assert workspace.ledger.get(Run, last).state == "done"


def test_a_database_is_read_every_night_and_one_that_is_gone_fails_the_run_by_name(
    root: Path, first: str, server: local_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    monkeypatch.setenv("WEB_SHOP_URL", url)
    web = open_database_shop(url, tmp_path / "unused")
    long_ago = datetime(2025, 10, 20, 9)  # loads refuse rows that are later than the clock of the machine
    web.add(web.orders, order(1, ordered_at=long_ago, paid_at=long_ago, updated_at=long_ago))
    (root / "conf" / "sources" / "web_shop.yml").write_text(SOURCE, encoding="utf-8")
    assert runs.databases(Workspace.open(root)) == ["web_shop"]
    done = nightly.run(str(root), notebooks=["one"], source="web_shop", server=server)
    assert runs.summary(Workspace.open(root), done)["state"] == "done"
    orders = Workspace.open(root).lake.table("orders")
    assert orders.filter(orders.order_id == "W1").count().to_pyarrow().as_py() == 1
    (tmp_path / "shop.db").unlink()
    checks = {check.name: check for check in examine(str(root))}
    assert checks["database of web_shop"].state == "wrong" and "does not exist" in checks["database of web_shop"].found
    failed = nightly.run(str(root), notebooks=["one"], source="web_shop", server=server)
    facts = runs.summary(Workspace.open(root), failed)
    assert facts["state"] == "failed" and "the SQLite file of source 'web_shop' does not exist" in str(facts)
