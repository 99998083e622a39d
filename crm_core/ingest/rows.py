"""Rows of text judged one by one: typed, checked by cell and by the feed's row rules, exact repetitions
marked.

The outcome is two small sets of row numbers (rejects with their reasons, duplicates) beside the typed rows;
whatever is in neither is accepted. Everything is one pass of the engine over the raw text and lies in Parquet
in the spill folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from crm_core.config.sources import FeedSettings, SourceSettings
from crm_core.ingest import casts
from crm_core.ingest.carry import carried
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.expressions import accounts_of, private_fields
from crm_core.ingest.reader import LINE, Batch, file_of
from crm_core.schema.expressions import condition

ERASED = "erased"
"""The reason of rows that belong to a person who was erased; what they say is not kept."""


@dataclass(frozen=True)
class Context:
    """What holds for every file of a load."""

    engine: Any
    settings: SourceSettings
    zone: ZoneInfo
    project_zone: ZoneInfo
    currency: str
    country: str
    now: datetime

    @property
    def where(self) -> str:
        """The file that settings come from, for messages."""
        return f"conf/sources/{self.settings.source}.yml"


@dataclass(frozen=True)
class Staged:
    """One batch's typed rows. `rejected` holds _row, field, reason; `repeated` holds _row of duplicates
    (None: none).
    """

    batch: Batch
    feed: FeedSettings
    work: Path
    typed: ir.Table
    rejected: tuple[ir.Table, ...]
    repeated: ir.Table | None

    def accepted(self) -> ir.Table:
        """Typed rows that are neither rejected nor repeated."""
        rows = self.typed.filter(self.typed._reason.isnull()).drop("_reason", "_field")
        for table in (*self.rejected[1:], *([self.repeated] if self.repeated is not None else [])):
            rows = rows.anti_join(table, "_row")
        return rows

    def refuse(self, rows: ir.Table) -> Staged:
        """The same batch with further rejects."""
        return replace(self, rejected=(*self.rejected, rows))


def stage(context: Context, batch: Batch, work: Path) -> Staged:
    """Types and checks the rows of a batch. InputError when a file cannot be read through."""
    feed = context.settings.feeds[batch.feed]
    typed, problems = _typed(context, batch, feed)
    problems += [
        (name, condition(rule.rule, typed, where=f"{context.where}, reject_when").ifelse(rule.reason, None))
        for name, rule in (("", rule) for rule in feed.reject_when)
    ]
    fields = [name for name in typed.columns if not name.startswith(("_raw_", "_local_"))]
    reason = casts.joined([sentence for _, sentence in problems])
    field = ibis.coalesce(*[sentence.notnull().ifelse(name, None) for name, sentence in problems], ibis.null("string"))
    with engine_errors(batch.label):
        judged = typed.mutate(_reason=reason, _field=field).select(*fields, "_reason", "_field")
        context.engine.to_parquet(judged, work / f"typed_{batch.name}.parquet", compression="snappy")
        rows = context.engine.read_parquet(work / f"typed_{batch.name}.parquet")
        bad = rows.filter(rows._reason.notnull()).select("_row", field=rows._field, reason=rows._reason)
        staged = Staged(batch, feed, work, rows, (bad,), None)
        if feed.repeated_rows == "duplicate":
            staged = replace(staged, repeated=_repeated(context, staged))
    return staged


def _typed(context: Context, batch: Batch, feed: FeedSettings) -> tuple[ir.Table, list[tuple[str, Any]]]:
    fen, now = context.settings.money_unit == "fen", ibis.literal(context.now).cast("timestamp(6)")
    hidden, plain = private_fields(context.settings, feed), _plain_accounts(context.settings, feed)
    raw = batch.raw
    texts = {f"_raw_{name}": casts.cell(raw[name], feed.reader.nulls, feed.fields[name].strip) for name in batch.shown}
    cells = carried(raw.select("_row", **texts), feed.carry)
    times = [name for name in batch.shown if feed.fields[name].type == "time"]
    cells = cells.mutate(
        **{f"_local_{name}": casts.local_time(cells[f"_raw_{name}"], feed.fields[name]) for name in times}
    )
    values: dict[str, Any] = {}
    for name, field in feed.fields.items():
        if name in batch.shown:
            text, local = cells[f"_raw_{name}"], cells[f"_local_{name}"] if name in times else None
            values[name] = casts.typed(text, field, context.zone, fen, local).cast(casts.TYPES[field.type])
        else:
            values[name] = ibis.null(casts.TYPES[field.type])
    table = cells.mutate(**values)
    problems: list[tuple[str, Any]] = []
    for name, heading in batch.shown.items():
        text, field = table[f"_raw_{name}"], feed.fields[name]
        if field.type != "text" or field.filled or field.values:
            problems.append((name, casts.problem(text, table[name], field, heading, name in hidden, now)))
        if name in plain:
            odd = text.notnull() & ~text.re_search(r"^\d{1,18}$")
            problems.append((name, odd.ifelse(f"{heading}: not a bare number, which `ids: plain` asks for", None)))
    return table, problems


def _plain_accounts(settings: SourceSettings, feed: FeedSettings) -> set[str]:
    return {field for field, _ in accounts_of(settings, feed)} if settings.ids == "plain" else set()


def _repeated(context: Context, staged: Staged) -> ir.Table | None:
    """Rows that say the same as an earlier one of their file: candidates by hash first, then in full."""
    rows = staged.accepted()
    names = list(staged.batch.shown)
    rows = rows.mutate(_file=file_of(rows._row))
    hashed = rows.select("_row", _hash=ibis.struct({name: rows[name] for name in ("_file", *names)}).hash())
    several = hashed.group_by("_hash").having(hashed.count() > 1).agg(_first=hashed._row.min())
    candidates = hashed.semi_join(several, "_hash").select("_row")
    candidates = _kept(context, staged, candidates, "candidates")
    if not candidates.count().to_pyarrow().as_py():
        return None
    alike = rows.semi_join(candidates, "_row")
    place = ibis.row_number().over(group_by=["_file", *names], order_by="_row")
    later = alike.select("_row", _place=place).filter(lambda t: t._place > 0).select("_row")
    return _kept(context, staged, later, "repeated")


def _kept(context: Context, staged: Staged, table: ir.Table, name: str) -> ir.Table:
    """`table` worked out once, into a file of this batch."""
    path = staged.work / f"{name}_{staged.batch.name}.parquet"
    context.engine.to_parquet(table, path)
    return context.engine.read_parquet(path)


def rejects(context: Context, staged: Staged) -> ir.Table:
    """Every rejected row: _row, field, reason, row (its cells as JSON by heading, private ones masked), cells (all of the
    row, as read), text (a malformed line).
    """
    batch = staged.batch
    hidden = private_fields(context.settings, staged.feed)
    found = [table.select("_row", "field", "reason") for table in staged.rejected]
    together = found[0] if len(found) == 1 else ibis.union(*found)
    # picked out first: the engine would write JSON for every row of the file before it joins
    raw = _kept(context, staged, batch.raw.semi_join(together, "_row"), "refused")
    cells = {name: casts.cell(raw[name], ()) for name in batch.shown}
    shown = {
        batch.shown[name]: casts.masked(text) if name in hidden else casts.shortened(text)
        for name, text in cells.items()
    }
    first = ibis.row_number().over(group_by=together._row, order_by=[together.field, together.reason])
    once = together.mutate(_place=first).filter(lambda t: t._place == 0).drop("_place")
    whole = ibis.null("array<string>") if batch.json else ibis.array([raw[name].fill_null("") for name in batch.places])
    line = raw[LINE] if batch.json else ibis.null("string")
    said = raw.select("_row", row=ibis.struct(shown).cast("json").cast("string"), cells=whole, text=line)
    rows = once.join(said, "_row").select("_row", "field", "reason", "row", "cells", "text")
    if batch.malformed is None:
        return rows
    lines = batch.malformed.mutate(field=ibis.literal(""), row=ibis.null("string"), cells=ibis.null("array<string>"))
    return rows.union(lines.select(*rows.columns))
