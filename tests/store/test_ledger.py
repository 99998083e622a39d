"""The ledger on SQLite and on a real PostgreSQL: migrations, audit chain, many writers at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, delete, func, inspect, select, update

from crm_core.errors import InputError, RunFailed
from crm_core.store import Ledger, now
from crm_core.store.ledger import AuditEntry, ConfigText, Snapshot
from crm_core.store.ledger.ledger import HEAD, VERSION
from crm_core.store.ledger.models import Base

ROOT = Path(__file__).resolve().parents[2]


def write_lines(ledger: Ledger, count: int = 3) -> None:
    for number in range(count):
        with ledger.transaction() as session:
            ledger.audit(session, "test", f"s{number}", {"n": number, "名": ["重要", None], "at": now(), 10: 1, 9: 2}, "ann")


def children(action: str, folder: Path, url: str) -> str:
    """What four processes print that do `action` at once."""
    command = [sys.executable, "-m", "tests.store.child", action, str(folder), url, "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_migrations_give_exactly_the_models(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert connection.execute(select(VERSION.c.version_num)).scalar() == HEAD


def test_opening_it_again_changes_nothing_and_loses_nothing(ledger: Ledger, ledger_url: str) -> None:
    write_lines(ledger)
    again = Ledger(ledger_url)
    assert again.verify_audit() == 3
    again.engine.dispose()


def test_the_audit_chain_holds_and_names_the_first_line_that_was_changed(ledger: Ledger) -> None:
    write_lines(ledger, 5)
    assert ledger.verify_audit() == 5
    with ledger.transaction() as session:
        session.execute(update(AuditEntry).where(AuditEntry.id == 3).values(detail={"n": 99}))
    with pytest.raises(RunFailed, match="audit line 3 was changed or one before it is missing"):
        ledger.verify_audit()


@pytest.mark.parametrize("column", ["actor", "action", "subject", "at"])
def test_no_part_of_an_audit_line_can_be_changed_unnoticed(ledger: Ledger, column: str) -> None:
    write_lines(ledger, 2)
    with ledger.transaction() as session:
        changed: Any = now() if column == "at" else "someone else"
        session.execute(update(AuditEntry).where(AuditEntry.id == 1).values({column: changed}))
    with pytest.raises(RunFailed, match="audit line 1 "):
        ledger.verify_audit()


def test_a_missing_audit_line_is_noticed(ledger: Ledger) -> None:
    write_lines(ledger, 3)
    with ledger.transaction() as session:
        session.execute(delete(AuditEntry).where(AuditEntry.id == 2))
    with pytest.raises(RunFailed, match="audit line 3 "):
        ledger.verify_audit()


def test_four_processes_that_append_at_once_lose_nothing(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    children("audit", tmp_path, ledger_url)
    assert ledger.verify_audit() == 160
    with ledger.session() as session:
        assert session.scalar(select(func.count(func.distinct(AuditEntry.subject)))) == 160


def test_four_processes_never_hold_the_lease_under_the_same_number(ledger: Ledger, ledger_url: str, tmp_path: Path) -> None:
    said = children("fences", tmp_path, ledger_url)
    assert sorted(int(line) for line in said.split()) == list(range(1, 41))


def test_four_processes_may_open_a_new_ledger_at_once(tmp_path: Path, ledger_url: str) -> None:
    children("fences", tmp_path, ledger_url)
    with create_engine(ledger_url).connect() as connection:
        assert inspect(connection).has_table("audit")


def test_an_exception_inside_a_transaction_leaves_no_row(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.transaction() as session:
        session.add(Snapshot(created_at=now(), purpose="p", versions={"orders": 1}, covers_until=None))
        session.flush()
        _ = 1 / 0
    assert ledger.newest_snapshot() is None


def test_snapshots_come_back_as_they_were_and_the_newest_is_found(ledger: Ledger) -> None:
    for version in (1, 2):
        with ledger.transaction() as session:
            session.add(Snapshot(created_at=now(), purpose="p", versions={"orders": version}, covers_until=None))
    newest = ledger.newest_snapshot()
    assert newest is not None and newest.versions == {"orders": 2}
    assert ledger.get(Snapshot, newest.id).versions == {"orders": 2}
    assert ledger.get(Snapshot, 99) is None


def test_settings_texts_are_kept_once(ledger: Ledger) -> None:
    for _ in range(2):
        with ledger.transaction() as session:
            ledger.keep_config(session, "h", {"project.yml": "name: 店\n"})
    assert ledger.get(ConfigText, "h").texts == {"project.yml": "name: 店\n"}


@pytest.mark.parametrize("url", ["postgres//nowhere", "nosuch://host/db", "mysql+nodriver://host/db"])
def test_a_url_that_is_none_is_a_clear_error_without_the_url(url: str) -> None:
    with pytest.raises(InputError, match="the ledger's url is not one that SQLAlchemy takes") as caught:
        Ledger(url)
    assert url not in str(caught.value)


def test_a_server_that_is_not_there_is_a_clear_error_without_the_password() -> None:
    with pytest.raises(RunFailed, match="the ledger cannot be opened") as caught:
        Ledger("postgresql+psycopg://ann:secret@127.0.0.1:1/crm")
    assert "secret" not in str(caught.value)


def test_a_ledger_of_a_newer_version_is_refused(ledger: Ledger, ledger_url: str) -> None:
    with ledger.transaction() as session:
        session.execute(update(VERSION).values(version_num="9999"))
    with pytest.raises(RunFailed, match="the ledger was made by a newer version"):
        Ledger(ledger_url)


def test_a_ledger_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database, but long enough to be looked at" * 50)
    with pytest.raises(RunFailed, match="the ledger cannot be opened: file is not a database"):
        Ledger.in_folder(tmp_path)


def test_deleted_text_does_not_linger_in_the_sqlite_file(tmp_path: Path) -> None:
    ledger = Ledger.in_folder(tmp_path / "我的 数据 100%")
    with ledger.transaction() as session:
        ledger.keep_config(session, "h", {"a.yml": "SECRETWORD" * 50})
    with ledger.transaction() as session:
        session.execute(delete(ConfigText))
    ledger.engine.dispose()
    found = [path for path in (tmp_path / "我的 数据 100%").iterdir() if b"SECRETWORD" in path.read_bytes()]
    assert found == []
