"""The ledger on PostgreSQL: the lake's own tests over it, and a workspace from ingest to run through `ledger.url_env`."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core.store import Lake, Ledger
from tests.flows import corner
from tests.ingest.corner_shop import text_of
from tests.servers import PASSWORD, Server
from tests.store import test_lake, test_upsert

pytestmark = pytest.mark.postgres
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lake(tmp_path: Path, engine: Any, postgres: Server) -> Iterator[Lake]:
    """The lake of the tests below, with its ledger on PostgreSQL."""
    ledger = Ledger(postgres.database(f"lake_{abs(hash(str(tmp_path)))}"))
    yield Lake(tmp_path / "lake", ledger, engine)
    ledger.engine.dispose()


for _module in (test_lake, test_upsert):
    for _name, _case in vars(_module).items():
        if _name.startswith("test_") and "lake" in inspect.signature(_case).parameters:
            globals()[f"{_name}_on_postgres"] = _case


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> Iterator[Path]:
    """A workspace whose ledger is on PostgreSQL, by a URL with a password from the environment."""
    folder = corner.make(tmp_path_factory.mktemp("pg") / "我的 数据 100%", {"one": corner.GOOD})
    (folder / "conf" / "project.yml").write_text("ledger: {url_env: CRM_TEST_LEDGER}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRM_TEST_LEDGER", postgres.database("ledger_of_a_workspace"))
        yield folder


def command(root: Path, *words: object) -> subprocess.Popen[str]:
    line = [str(Path(sys.executable).parent / "crm"), "--workspace", str(root), "--json", *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def facts(running: subprocess.Popen[str]) -> Any:
    out, complaint = running.communicate(timeout=300)
    assert running.returncode == 0, complaint
    return json.loads(out)


@pytest.mark.slow
def test_a_workspace_goes_from_ingest_through_undo_to_a_run_and_its_audit(root: Path) -> None:
    inbox = root / "data" / "inbox" / "corner_shop"
    first = facts(command(root, "ingest", "corner_shop", inbox))
    assert first["adds_up"] and first["read"] == 39
    # two at once, of other orders
    for number in (2, 3):
        corner.deliver(root, f"订单_{number}.csv", text_of([corner.bought(number * 100 + n) for n in range(9)]))
    both = [command(root, "ingest", "corner_shop", inbox / f"订单_{number}.csv") for number in (2, 3)]
    loaded = [facts(each)["load_id"] for each in both]
    undone = facts(command(root, "undo", loaded[0]))
    assert undone["load_id"] == loaded[0]
    states = {load["load_id"]: load["state"] for load in facts(command(root, "loads"))["loads"]}
    assert states == {first["load_id"]: "live", loaded[0]: "undone", loaded[1]: "live"}
    assert facts(command(root, "run", "one"))["state"] == "done"
    assert facts(command(root, "audit"))
    assert not (root / "data" / "ledger" / "ledger.db").exists()
    found = [path for path in root.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert found == []


def test_a_ledger_url_that_is_not_set_or_has_its_password_in_conf_is_one_clear_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRM_TEST_LEDGER")
    _, complaint = (running := command(root, "loads")).communicate()
    assert running.returncode == 2 and "ledger.url_env names CRM_TEST_LEDGER, which is not set" in complaint
    settings = root / "conf" / "project.yml"
    kept = settings.read_text(encoding="utf-8")
    settings.write_text(f"ledger:\n  url: postgresql+psycopg://crm:{PASSWORD}@host/db\n", encoding="utf-8")
    _, complaint = (running := command(root, "loads")).communicate()
    settings.write_text(kept, encoding="utf-8")
    assert running.returncode == 2 and "project.yml line 2: a URL with a password" in complaint
    assert PASSWORD not in complaint
