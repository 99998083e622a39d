"""Headings of a file against those of the file of its feed that was loaded before: what came, what went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import select

from crm_core.ingest.headings import plain
from crm_core.ingest.report import FileReport
from crm_core.store import Ledger
from crm_core.store.ledger import Load, LoadFile


def with_drift(ledger: Ledger, source: str, files: Iterable[FileReport]) -> list[FileReport]:
    """The reports with `new_headings` and `gone_headings` since the newest live load of each file's feed; both are
    empty where there is none.
    """
    earlier: dict[str, list[str]] = {}
    found = []
    for file in files:
        if file.known_load:
            found.append(file)
            continue
        if file.feed not in earlier:
            earlier[file.feed] = _headings(ledger, source, file.feed)
        before = earlier[file.feed]
        new, gone = (_missing(file.headings, before), _missing(before, file.headings)) if before else ((), ())
        found.append(replace(file, new_headings=new, gone_headings=gone))
    return found


def heading_notes(files: Iterable[FileReport]) -> list[str]:
    """For people: headings that no field reads, that are new, that are gone; one line for files that say the same."""
    places: dict[tuple[str, str], list[str]] = {}
    for file in files:
        for what, headings in (
            ("headings that no field reads", file.unknown_headings),
            ("headings new since the load before", file.new_headings),
            ("headings gone since the load before", file.gone_headings),
        ):
            if headings:
                places.setdefault((what, ", ".join(headings)), []).append(file.name)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {what}: {headings}"
        for (what, headings), names in places.items()
    ]


def _headings(ledger: Ledger, source: str, feed: str) -> list[str]:
    query = select(LoadFile.detail).join(Load, Load.load_id == LoadFile.load_id)
    query = query.where(Load.source == source, Load.state == "live", LoadFile.feed == feed)
    with ledger.session() as session:
        detail = session.scalars(query.order_by(Load.finished_at.desc(), LoadFile.id.desc()).limit(1)).first()
    return list((detail or {}).get("headings", []))


def _missing(headings: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    known = set(map(plain, others))
    return tuple(dict.fromkeys(name.strip() for name in headings if plain(name) and plain(name) not in known))
