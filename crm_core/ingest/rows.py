"""Rows of text judged one by one: typed, checked by cell and by the feed's row rules, exact repetitions
marked.

The outcome is two small sets of row numbers (rejects with their reasons, duplicates) beside the typed rows;
whatever is in neither is accepted. Everything is one pass of the engine over the raw text and lies in Parquet
in the spill folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from crm_core.config.sources import FeedSettings, FieldSettings, SourceSettings
from crm_core.ingest import casts, quick
from crm_core.ingest.carry import carried
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.expressions import accounts_of, numbered, private_fields
from crm_core.ingest.reader import COPY, LINE, Batch, file_of, read_through, settle, whole
from crm_core.schema import TABLES
from crm_core.schema.expressions import LOCAL_DAY, condition
from crm_core.store import local_date

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
    def days(self) -> dict[str, Any]:
        """How expressions turn a time into a day: the source's own."""
        return {LOCAL_DAY: lambda time: local_date(time, self.zone)}

    @property
    def where(self) -> str:
        """The file that settings come from, for messages."""
        return f"conf/sources/{self.settings.source}.yml"


@dataclass(frozen=True)
class Staged:
    """One batch's typed rows. `rejected` holds _row, field, reason; `repeated` holds _row of duplicates
    (None: none); `distinct`: fields in which no two accepted rows agree, where that is known.
    """

    batch: Batch
    feed: FeedSettings
    work: Path
    typed: ir.Table
    rejected: tuple[ir.Table, ...]
    repeated: ir.Table | None
    distinct: tuple[str, ...] = ()

    def accepted(self, numbers: Iterable[tuple[str, ...]] = ()) -> ir.Table:
        """Typed rows that are neither rejected nor repeated. `numbers` are columns of places (`number_column`) among all rows
        but the repeated, so that a row keeps its place once those above it are mended.
        """
        rows = self.typed.drop("_texts")
        if self.repeated is not None:
            rows = rows.anti_join(self.repeated, "_row")
        rows = numbered(rows, numbers)
        for table in self.rejected:
            rows = rows.anti_join(table, "_row")
        return rows

    def refuse(self, rows: ir.Table) -> Staged:
        """The same batch with further rejects."""
        return replace(self, rejected=(*self.rejected, rows))


@ibis.udf.scalar.builtin(name="hash", signature=((None,), "uint64"))
def engine_hash(value: Any) -> Any:
    """The engine's own hash; good only within one load, as another version of the engine may have another."""


def stage(context: Context, batch: Batch, work: Path) -> Staged:
    """Types and checks the rows of a batch. InputError when a file cannot be read through."""
    feed = context.settings.feeds[batch.feed]
    if feed.carry:
        batch = whole(context.engine, batch, work)
    typed = _typed(context, _raw(batch, feed), batch, feed)
    suspects = _suspects(context, typed, batch, feed)
    texts = ibis.array([typed[f"_raw_{name}"] for name in batch.held])
    marked = typed.mutate(_texts=reduce(or_, suspects, ibis.literal(False)).ifelse(texts, ibis.null(texts.type())))
    with engine_errors(batch.label):
        path = work / f"typed_{batch.name}.parquet"
        kept = [name for name in marked.columns if not name.startswith(("_raw_", "_tried_", "_local_"))]
        read_through(context.engine, batch, marked.select(*kept), path)
        rows, batch = settle(context.engine, batch, path)
        staged = Staged(batch, feed, work, rows, (), None)
        staged = staged.refuse(_kept(context, staged, _judged(context, staged), "bad"))
        if feed.repeated_rows == "duplicate":
            staged = _without_repeated(context, staged)
    return staged


def _raw(batch: Batch, feed: FeedSettings) -> ir.Table:
    """`_raw_<field>`, the cells as they stand in the file; where some are carried down, all of the feed's trimmed."""
    lines = batch.lines
    origin = [name for name in ("_row", COPY) if name in lines.columns]
    raw = {name: lines[name] for name in batch.held}
    if feed.carry:
        raw |= {name: casts.cell(lines[name], feed.reader.nulls, feed.fields[name].strip) for name in batch.shown}
    return carried(lines.select(*origin, **{f"_raw_{name}": value for name, value in raw.items()}), feed.carry)


def _typed(context: Context, cells: ir.Table, batch: Batch, feed: FeedSettings) -> ir.Table:
    """The fields typed, beside `_raw_<field>` in `cells`."""
    fen, nulls = context.settings.money_unit == "fen", feed.reader.nulls
    fields = {name: feed.fields[name] for name in batch.shown}
    tried = {name: quick.tried(cells[f"_raw_{name}"], field, nulls, fen) for name, field in fields.items()}
    # a view, or else ibis would write the cast out wherever it is used, and the engine would do it as often
    cells = cells.mutate(**{f"_tried_{name}": value for name, value in tried.items() if value is not None}).view()
    tried = {name: cells[f"_tried_{name}"] for name, value in tried.items() if value is not None}
    local = {}
    for name, field in fields.items():
        if field.type == "time":
            raw_cell = cells[f"_raw_{name}"]
            slow = casts.local_time(_text(raw_cell, feed, name), field)
            local[f"_local_{name}"] = quick.read(raw_cell, tried.get(name), field, nulls, slow)
    cells = cells.mutate(**local)
    values: dict[str, Any] = {}
    for name, field in feed.fields.items():
        kind = casts.TYPES[field.type]
        if name not in fields:
            values[name] = ibis.null(kind)
            continue
        cell, moment = cells[f"_raw_{name}"], cells[f"_local_{name}"] if field.type == "time" else None
        value = casts.typed(_text(cell, feed, name), field, context.zone, fen, moment).cast(kind)
        values[name] = value if field.type == "time" else quick.read(cell, tried.get(name), field, nulls, value)
    return cells.mutate(**values)


def _closely(context: Context, rows: ir.Table, feed: FeedSettings) -> ir.Table:
    """The fields typed from `_text_<field>` in `rows`, each by the closer look."""
    texts = {name: rows[f"_text_{name}"] for name in feed.fields if f"_text_{name}" in rows.columns}
    times = {name: casts.local_time(text, feed.fields[name]) for name, text in texts.items() if feed.fields[name].type == "time"}
    rows = rows.mutate(**{f"_local_{name}": moment for name, moment in times.items()}).view()
    fen = context.settings.money_unit == "fen"
    values: dict[str, Any] = {}
    for name, field in feed.fields.items():
        kind, moment = casts.TYPES[field.type], rows[f"_local_{name}"] if name in times else None
        known = name in texts
        values[name] = casts.typed(rows[f"_text_{name}"], field, context.zone, fen, moment).cast(kind) if known else ibis.null(kind)
    return rows.mutate(**values).view()


def _text(raw: Any, feed: FeedSettings, name: str) -> Any:
    """A cell as text, trimmed; null where it says nothing."""
    return casts.cell(raw, feed.reader.nulls, "" if feed.carry else feed.fields[name].strip)


def _suspects(context: Context, rows: ir.Table, batch: Batch, feed: FeedSettings) -> list[Any]:
    """Conditions that every wrong row fulfils, and few others (null is no): cheap, as they are asked of every row."""
    now = ibis.literal(context.now).cast("timestamp(6)")
    plain, asked = _plain_accounts(context.settings, feed), _asked(context.settings, feed)
    found = [condition(rule.rule, rows, where=f"{context.where}, reject_when", functions=context.days) for rule in feed.reject_when]
    for name in batch.shown:
        field = feed.fields[name]
        if name in asked:
            found.append(casts.suspect(rows[f"_raw_{name}"], rows[name], field, now))
        if name in plain:
            found.append(~rows[f"_raw_{name}"].re_search(r"^\d{1,18}$"))
    return found


def _judged(context: Context, staged: Staged) -> ir.Table:
    """The suspects that are wrong: _row, field, reason, texts (their cells as they stand in the file).

    They are few, and typing them once more is quicker than looking for them in every column of the file.
    """
    batch, feed, now = staged.batch, staged.feed, ibis.literal(context.now).cast("timestamp(6)")
    hidden, plain = _hidden(context, batch, feed), _plain_accounts(context.settings, feed)
    asked = _asked(context.settings, feed)
    suspects = staged.typed.filter(staged.typed._texts.notnull()).select("_row", "_texts")
    suspects = _kept(context, staged, suspects, "suspects")
    if not suspects.count().to_pyarrow().as_py():  # what follows takes longer to put together than a small file to load
        return suspects.select("_row", field=ibis.literal(""), reason=ibis.literal(""), texts="_texts")
    # in views one upon the other, or ibis would write each text out wherever it is used: seconds of putting queries together
    texts = {name: _text(suspects._texts[place], feed, name) for place, name in enumerate(batch.held) if name in batch.shown}
    rows = _closely(context, suspects.mutate(**{f"_text_{name}": text for name, text in texts.items()}).view(), feed)
    faults = []
    for name, heading in batch.shown.items():
        text, field = rows[f"_text_{name}"], feed.fields[name]
        said = _cell(text, field, ibis.literal(name in hidden)) | {"name": ibis.literal(name), "heading": ibis.literal(heading)}
        if name in asked:
            faults.append(said | {"fault": casts.fault(text, rows[name], field, now)})
        if name in plain:
            odd = text.notnull() & ~text.re_search(r"^\d{1,18}$")
            faults.append(said | {"fault": odd.ifelse(": not a bare number, which `ids: plain` asks for", None)})
    for rule in feed.reject_when:
        broken = condition(rule.rule, rows, where=f"{context.where}, reject_when", functions=context.days)
        said = _cell(ibis.null("string"), None, ibis.literal(False)) | {"name": ibis.literal(""), "heading": ibis.literal("")}
        faults.append(said | {"fault": broken.ifelse(rule.reason, None)})
    every = ibis.array([ibis.struct(each) for each in faults])
    found = rows.select("_row", "_texts", _faults=every.filter(lambda each: each.fault.notnull())).view()
    found = found.filter(found._faults.length() > 0).mutate(_shifted=found._faults.length() >= casts.MANY_FAULTS).view()
    reason = found._faults.map(
        lambda each: casts.sentence(each.fault, each.heading, each.text, each.hidden, each.textual, found._shifted)
    )
    return found.select("_row", field=found._faults[0]["name"], reason=reason.join("; "), texts="_texts")


def _cell(text: Any, field: FieldSettings | None, hidden: Any) -> dict[str, Any]:
    """A cell and what decides how it may be shown."""
    textual = field is None or field.type in casts.TEXTS
    return {"text": text, "hidden": hidden, "textual": ibis.literal(textual)}


def _hidden(context: Context, batch: Batch, feed: FeedSettings) -> set[str]:
    """Fields of which no more is shown than `masked` leaves: private ones, and what is headed as one is."""
    return private_fields(context.settings, feed) | batch.files[0].headings.personal


def _asked(settings: SourceSettings, feed: FeedSettings) -> set[str]:
    """Fields whose cells may be wrong: not what they should be, empty, or an id that a spreadsheet took for a number."""
    accounts = {name for name, _ in accounts_of(settings, feed)}
    checked = {name for name, each in feed.fields.items() if each.type not in casts.TEXTS or each.filled or each.values}
    return accounts | checked


def _plain_accounts(settings: SourceSettings, feed: FeedSettings) -> set[str]:
    return {field for field, _ in accounts_of(settings, feed)} if settings.ids == "plain" else set()


def _without_repeated(context: Context, staged: Staged) -> Staged:
    """The batch with what `repeated` and `distinct` say: what is told by fewer fields is looked for first."""
    names = tuple(staged.batch.shown)
    for fields in dict.fromkeys([*_key_fields(staged), names]):
        rows = staged.accepted()
        rows = rows.mutate(_hash=engine_hash(ibis.struct({name: rows[name] for name in fields})))
        found = rows.aggregate(rows=rows.count(), hashes=rows._hash.nunique()).to_pyarrow().to_pylist()[0]
        if found["rows"] == found["hashes"]:
            return replace(staged, distinct=fields)
    return replace(staged, repeated=_repeated(context, staged, rows, names))


def _key_fields(staged: Staged) -> list[tuple[str, ...]]:
    """The fields that stand as they are in the key of a table of which each row is made of one row of the file; none or one
    such key.
    """
    tables = [(TABLES[table.table or entry], table) for entry, table in staged.feed.tables.items() if not table.per]
    keys = [tuple(str(table.columns[name]) for name in schema.key) for schema, table in tables]
    return [fields for fields in keys if all(field in staged.batch.shown for field in fields)][:1]


def _repeated(context: Context, staged: Staged, rows: ir.Table, names: tuple[str, ...]) -> ir.Table:
    """Rows that say the same as an earlier one of their file: candidates by `_hash` first, then in full."""
    several = rows.group_by("_hash").having(rows.count() > 1).agg(_first=rows._row.min())
    candidates = _kept(context, staged, rows.semi_join(several, "_hash").select("_row"), "candidates")
    alike = rows.semi_join(candidates, "_row").mutate(_file=file_of(rows._row))
    place = ibis.row_number().over(group_by=["_file", *names], order_by="_row")
    later = alike.select("_row", _place=place).filter(lambda t: t._place > 0).select("_row")
    return _kept(context, staged, later, "repeated")


def _kept(context: Context, staged: Staged, table: ir.Table, name: str) -> ir.Table:
    """`table` worked out once, into a file of this batch."""
    path = staged.work / f"{name}_{staged.batch.name}.parquet"
    context.engine.to_parquet(table, path)
    return context.engine.read_parquet(path)


def _cells(context: Context, staged: Staged, refused: ir.Table) -> ir.Table:
    """The cells, as they stand in the file, of the rows `refused`. Those of rows that were wrong by themselves are at hand;
    for others the file is read once more.
    """
    bad = staged.rejected[0]
    if staged.feed.carry or refused.anti_join(bad, "_row").count().to_pyarrow().as_py():
        return whole(context.engine, staged.batch, staged.work).lines.semi_join(refused, "_row")
    found = bad.semi_join(refused, "_row")
    return found.select("_row", **{name: found.texts[place] for place, name in enumerate(staged.batch.held)})


def rejects(context: Context, staged: Staged) -> ir.Table:
    """Every rejected row: _row, field, reason, row (its cells as JSON by heading, private ones masked), cells (all of the
    row, as read), text (a malformed line).
    """
    batch = staged.batch
    hidden = _hidden(context, batch, staged.feed)
    found = [table.select("_row", "field", "reason") for table in staged.rejected]
    together = found[0] if len(found) == 1 else ibis.union(*found)
    # picked out first: the engine would write JSON for every row of the file before it joins
    raw = _kept(context, staged, _cells(context, staged, together), "refused")
    first = ibis.row_number().over(group_by=together._row, order_by=[together.field, together.reason])
    once = together.mutate(_place=first).filter(lambda t: t._place == 0).drop("_place")
    rows = once.join(raw.select("_row", **{f"_raw_{name}": raw[name] for name in batch.held}), "_row")
    rows = rows.mutate(_shifted=casts.looks_shifted(rows.reason)).view()
    cells = [
        _cell(casts.cell(rows[f"_raw_{name}"], ()), staged.feed.fields[name], ibis.literal(name in hidden) | rows._shifted)
        for name in batch.shown
    ]
    # in a list, and so each by the same expression: one for each takes seconds to put together
    shown = ibis.array([ibis.struct(each) for each in cells]).map(lambda each: casts.shown(each.text, each.hidden, each.textual))
    every = ibis.null("array<string>") if batch.json else ibis.array([rows[f"_raw_{name}"].fill_null("") for name in batch.places])
    line = rows[f"_raw_{LINE}"] if batch.json else ibis.null("string")
    rows = rows.select("_row", "field", "reason", _shown=shown, cells=every, text=line).view()
    # a map, because the names of a struct differ by more than their case
    said = {heading: rows._shown[place] for place, heading in enumerate(batch.shown.values())}
    row = ibis.map(ibis.array(list(said)), ibis.array(list(said.values())))
    rows = rows.select("_row", "field", "reason", row=row.cast("json").cast("string"), cells="cells", text="text")
    if batch.malformed is None:
        return rows
    lines = batch.malformed.mutate(field=ibis.literal(""), row=ibis.null("string"), cells=ibis.null("array<string>"))
    return rows.union(lines.select(*rows.columns))
