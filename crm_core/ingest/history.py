"""What was loaded, taking a load back exactly, and what a load refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import duckdb
import ibis.expr.types as ir
from sqlalchemy import select

from crm_core.errors import InputError, RunFailed, unknown
from crm_core.schema import TABLES
from crm_core.store import Lake, Ledger, UndoCounts, Vault, delta, now
from crm_core.store.ledger import Load, LoadFile


@dataclass(frozen=True)
class UndoReport:
    """A load taken back: for each table how many of its keys are gone, returned to what other loads say, or unchanged."""

    load_id: str
    source: str
    snapshot: int | None
    tables: dict[str, UndoCounts]


def loads(ledger: Ledger) -> list[tuple[Load, list[LoadFile]]]:
    """Every load with its files, newest first; those taken back have the state 'undone'."""
    with ledger.session() as session:
        found = session.scalars(select(Load).order_by(Load.started_at.desc(), Load.load_id.desc())).all()
        files = session.scalars(select(LoadFile).order_by(LoadFile.id)).all()
    return [(load, [file for file in files if file.load_id == load.load_id]) for load in found]


def load(ledger: Ledger, load_id: str) -> Load:
    """One load. UnknownName with the nearest id when there is none of that id."""
    with ledger.session() as session:
        found = session.get(Load, load_id)
        known = session.scalars(select(Load.load_id)).all() if found is None else []
    if found is None:
        raise unknown("load", load_id, known, "the ledger")
    return found


def undo(lake: Lake, vault: Vault, load_id: str, *, actor: str = "crm") -> UndoReport:
    """Takes a load back: its versions go, its keys are worked out anew from the other live loads, its
    contacts go.

    The tables then are what they would be had it never been loaded; its files can be loaded again.
    UnknownName when there is no such load, InputError when it was taken back before.
    """
    if load(lake.ledger, load_id).state != "live":
        vault.forget_load(load_id)  # a kill just after the undo was published left its contacts there
    _live(lake.ledger, load_id)
    with _stopped(load_id), lake.write(f"undo {load_id}", actor) as writer:
        record = _live(lake.ledger, load_id)
        counts = {name: writer.forget(name, load_id) for name in TABLES}
        writer.remove_load("rejects", load_id)
        record.state, record.undone_at = "undone", now()
        writer.covers_until = _covers_until(lake.ledger, without=load_id)
        writer.record(record)
        touched = {name: found for name, found in counts.items() if found.keys}
        writer.audit("undo", load_id, {"source": record.source, **{name: asdict(each) for name, each in touched.items()}})
    vault.forget_load(load_id)
    return UndoReport(load_id, record.source, writer.published.id if writer.published else None, touched)


def rejects(lake: Lake, load_id: str) -> ir.Table:
    """The rejects of one load: load_id, file, row_number, field, reason, row; in order of file and row."""
    load(lake.ledger, load_id)
    table = lake.table("rejects")
    return table.filter(table.load_id == load_id).order_by("file", "row_number")


@contextmanager
def _stopped(load_id: str) -> Iterator[None]:
    """Turns the engine's errors into ours; their texts may quote values."""
    try:
        yield
    except duckdb.Error as error:
        raise RunFailed(f"load {load_id} could not be taken back: {delta.reason(error)}; nothing was changed") from None


def _live(ledger: Ledger, load_id: str) -> Load:
    found = load(ledger, load_id)
    if found.state != "live":
        raise InputError(f"load {load_id} was taken back on {found.undone_at:%Y-%m-%d %H:%M} UTC; nothing is left to undo")
    return found


def _covers_until(ledger: Ledger, without: str) -> date | None:
    with ledger.session() as session:
        details: list[dict[str, Any]] = list(
            session.scalars(select(Load.detail).where(Load.state == "live", Load.load_id != without))
        )
    days = [date.fromisoformat(detail["covers_until"]) for detail in details if detail.get("covers_until")]
    return max(days, default=None)
