"""Records to compare: one row per member out of the vault's contacts, in a connection of its own that ends with the work.

Of several values of one kind the one that the source stated first counts, so that a record does not change when more is
stated later. Nothing of it leaves the connection but pairs of member ids.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.config import EngineSettings
from crm_core.store import Vault, connect

USABLE = "_block_{}"  # true where a block of this member is worth looking into


@contextmanager
def private_engine(vault: Vault, engine: EngineSettings, threads: int = 0) -> Iterator[Any]:
    """A DuckDB backend that spills into a folder of its own inside the vault's and leaves nothing behind."""
    settings = engine.model_copy(update={"kind": "duckdb", "threads": threads or engine.threads})
    own = connect(settings, vault.folder / "linking")
    spill = own.settings["temp_directory"]
    try:
        yield own
    finally:
        own.disconnect()
        shutil.rmtree(spill, ignore_errors=True)


def records(own: Any, vault: Vault, kinds: Sequence[str], blocks: Sequence[Sequence[str]], most_per_block: int) -> ir.Table:
    """A table of `own`: member_id, a column for each kind (null: not known), seen_at and complete_at (when the first and the
    last of them was stated), and for each block whether it is to be used: not when a value is missing or more than
    `most_per_block` members are in it. Sorted by member_id.
    """
    contacts = Vault(vault.folder, vault.ledger, own).stated()
    known = contacts.filter(contacts.valid, contacts.kind.isin(list(kinds)))
    order = [known.first_seen_at.asc(), known.value.asc()]
    rank = ibis.row_number().over(ibis.window(group_by=["member_id", "kind"], order_by=order))
    first = known.mutate(_rank=rank).filter(lambda t: t._rank == 0)
    plain: Any = first.value.strip().lower()
    wide = first.group_by("member_id").agg(
        seen_at=first.first_seen_at.min(),
        complete_at=first.first_seen_at.max(),
        **{kind: plain.max(where=first.kind == kind) for kind in kinds},
    )
    people = own.create_table("people", wide.order_by("member_id"), temp=True, overwrite=True)
    usable = _with_blocks(people, blocks, most_per_block)
    return own.create_table("records", usable.order_by("member_id"), temp=True, overwrite=True)


def _with_blocks(people: ir.Table, blocks: Sequence[Sequence[str]], most: int) -> ir.Table:
    for place, block in enumerate(blocks):
        missing = ibis.or_(*[people[kind].isnull() for kind in block])
        crowded = people.count().over(ibis.window(group_by=list(block))) > most
        people = people.mutate(**{USABLE.format(place): (missing | crowded).ifelse(None, ibis.literal(True))})
    return people
