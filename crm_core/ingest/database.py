"""Feeds of a database: streamed in batches into a Parquet copy of text in the spill folder, then treated as files.

All feeds are read in one read-only transaction, so that orders and their lines are of one moment. Values become text
exactly: decimals keep their digits, times with a zone become UTC with 'Z', those without stay wall-clock. Memory is
that of one batch, whatever the size.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, Select, column, exists, inspect, literal_column, or_, select, table, text
from sqlalchemy.exc import NoSuchTableError

from crm_core.config.databases import ExtractSettings
from crm_core.config.sources import SourceSettings
from crm_core.errors import InputError, unknown
from crm_core.ingest import spool, watermark
from crm_core.ingest.connection import database_errors, reading
from crm_core.ingest.expressions import makes_groups
from crm_core.ingest.headings import Headings, match
from crm_core.ingest.opening import Opened
from crm_core.ingest.report import FileReport
from crm_core.ingest.rows import Context
from crm_core.ingest.watermark import Highest, Mark
from crm_core.store import Ledger, table_hash

ROWS = 20_000
MYSQL_TIMESTAMP = 7  # the driver's code of a column that is UTC; DATETIME is wall-clock
TEXTS: dict[type, Callable[[Any], str]] = {
    str: str,
    int: str,
    bool: lambda value: "true" if value else "false",
    float: lambda value: format(Decimal(repr(value)), "f").removesuffix(".0"),
    Decimal: lambda value: format(value, "f"),
    datetime: lambda value: _moment(value),
    date: date.isoformat,
    time: time.isoformat,
    UUID: str,
    dict: lambda value: json.dumps(value, ensure_ascii=False),
    list: lambda value: json.dumps(value, ensure_ascii=False, default=str),
    ipaddress.IPv4Address: str,
    ipaddress.IPv6Address: str,
}


@dataclass(frozen=True)
class _Plan:
    """What is asked of the database for one feed."""

    feed: str
    settings: ExtractSettings
    shown: list[str]
    headings: Headings
    names: list[str]
    mark_at: int | None

    @property
    def name(self) -> str:
        return f"database:{self.feed}"


def read_database(
    context: Context, ledger: Ledger, known: dict[str, str], work: Path, say: Callable[[str], None], everything: bool
) -> tuple[list[FileReport], list[Opened], tuple[Mark, ...]]:
    """The feeds whose rows a live load already holds, the others with their copies in `work`, and how far they reach.

    `everything` reads from the beginning whatever was loaded. InputError where conf, environment and database do not
    fit, RunFailed where the database does not answer or goes away, or the disk is full.
    """
    settings = context.settings
    passed: list[FileReport] = []
    opened: list[Opened] = []
    marks: list[Mark] = []
    with reading(settings) as connection:
        for feed, options in extracts(settings).items():
            say(f"reading database:{feed}")
            rows: list[int] = []
            with database_errors(settings, feed, rows):
                plan = _plan(settings, feed, options, connection)
                last = None if everything else watermark.covered(ledger, settings.source, feed, options)
                since = watermark.beginning(last, options, context.where) if last else ""
                high = Highest(options, context.now, context.zone, context.where)
                statement = _statement(plan, connection, last.kind if last else "", since, high)
                copy = work / f"copy_{feed}"
                _stream(connection, plan, statement, copy, high, rows)
            file = _opened(context, plan, copy)
            if earlier := known.get(file.sha256):
                passed.append(FileReport(file.name, feed, file.sha256, file.bytes, known_load=earlier))
                continue
            opened.append(file)
            if options.watermark:
                kind = high.kind or (last.kind if last else "")
                marks.append(Mark(feed, watermark.extract_id(options), kind, since, high.text))
    return passed, opened, tuple(marks)


def extracts(settings: SourceSettings) -> dict[str, ExtractSettings]:
    """The feeds that are read from the source's database."""
    return {name: feed.extract for name, feed in settings.feeds.items() if feed.extract is not None}


def check_database(settings: SourceSettings) -> str:
    """Whether the database answers and has what every feed asks for; the answer as a sentence. Errors as in reading."""
    found = []
    with reading(settings) as connection:
        for feed, options in extracts(settings).items():
            with database_errors(settings, feed, []):
                plan = _plan(settings, feed, options, connection)
            found.append(f"{feed} ({len(plan.headings.positions)} of {len(settings.feeds[feed].fields)} fields)")
        dialect = connection.dialect.name
    return f"{dialect} answers: {', '.join(found)}"


# -- what is asked -----------------------------------------------------------------------------------------------------


def _plan(settings: SourceSettings, feed: str, options: ExtractSettings, connection: Connection) -> _Plan:
    where = f"conf/sources/{settings.source}.yml, feed '{feed}'"
    shown = _columns(connection, options, where)
    headings = match(settings.feeds[feed], shown)
    if headings.problems or not headings.positions:
        trouble = "; ".join(headings.problems).replace("heading ", "column ") or "none of its columns is a field"
        raise InputError(f"{where}: {trouble}. Columns of the {'table' if options.table else 'query'}: {', '.join(shown[:60])}")
    if options.watermark and options.watermark not in shown:
        raise unknown("watermark", options.watermark, shown, where)
    if other := [name for name in options.whole if name not in shown]:
        raise unknown("column of `whole`", other[0], shown, where)
    if options.table and options.watermark and not options.whole and makes_groups(settings.feeds[feed]):
        raise InputError(
            f"{where}: its tables make one row of several (`per`, number_within), and a watermark may bring a part of them; "
            "name the columns that they agree in: `whole: [order_id]` in `extract`"
        )
    # of a table only what is asked for leaves the database
    names = [shown[place] for place in sorted(headings.positions.values())] if options.table else list(shown)
    positions = {field: names.index(shown[place]) for field, place in headings.positions.items()}
    if options.watermark and options.watermark not in names:
        names.append(options.watermark)
    at = names.index(options.watermark) if options.watermark else None
    return _Plan(feed, options, shown, replace(headings, positions=positions), names, at)


def _columns(connection: Connection, options: ExtractSettings, where: str) -> list[str]:
    if not options.table:
        bounds = dict.fromkeys(("since", "until")) if options.watermark else {}
        probe: Select[Any] = select(literal_column("*")).select_from(_derived(options)).limit(0)
        return list(connection.execute(probe, _used(options, bounds)).keys())
    inspector = inspect(connection)
    try:
        return [found["name"] for found in inspector.get_columns(options.table_name, options.schema_name)]
    except NoSuchTableError:
        schema = options.schema_name
        if schema and schema not in (schemas := inspector.get_schema_names()):
            raise unknown("schema", schema, schemas, where) from None
        names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        near = difflib.get_close_matches(options.table, names, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        listed = ", ".join(sorted(names)[:30]) or "none that this user may see"
        raise InputError(f"{where}: table '{options.table}' is not there; {hint}tables: {listed}") from None


def _derived(options: ExtractSettings) -> Any:
    # as a derived table it can be nothing but one query; the line end closes a comment at its end
    return text(options.query.strip().rstrip(";") + "\n").columns().subquery("extract")


def _used(options: ExtractSettings, bounds: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in bounds.items() if f":{name}" in options.query}


def _statement(plan: _Plan, connection: Connection, kind: str, since: str, high: Highest) -> tuple[Select[Any], dict[str, Any]]:
    """The query and what it is given."""
    options = plan.settings
    low = watermark.parameter(kind, since) if since else None
    if options.query:
        first = watermark.bounds_of_the_first(options, connection.dialect.name == "sqlite")
        bounds = {"since": low if since else first[0], "until": high.latest(kind) if since else first[1]}
        return select(literal_column("*")).select_from(_derived(options)), _used(options, bounds)
    held = _table(plan, options)
    rows = select(*[held.c[name] for name in plan.names])
    return rows.where(_changed(plan, held, low)) if since else rows, {}


def _table(plan: _Plan, options: ExtractSettings) -> Any:
    names = dict.fromkeys([*plan.names, *options.whole])
    return table(options.table_name, *[column(name) for name in names], schema=options.schema_name).alias()


def _changed(plan: _Plan, rows: Any, low: Any) -> Any:
    """Whether a row changed since `low`, or another of its group."""
    options, other = plan.settings, _table(plan, plan.settings)
    news = [or_(each.c[options.watermark] >= low, each.c[options.watermark].is_(None)) for each in (rows, other)]
    if not options.whole:
        return news[0]
    same = [rows.c[name] == other.c[name] for name in options.whole]
    return or_(news[0], exists().where(*same, news[1]))


# -- streaming ---------------------------------------------------------------------------------------------------------


def _stream(
    connection: Connection, plan: _Plan, statement: tuple[Select[Any], dict[str, Any]], copy: Path, high: Highest, rows: list[int]
) -> None:
    schema = pa.schema([(f"c{place}", pa.string()) for place in range(len(plan.names))])
    with spool.writing(copy.parent), pq.ParquetWriter(copy, schema, compression="snappy") as out:
        for columns in _batches(connection, plan, *statement):
            if plan.mark_at is not None:
                high.see(columns[plan.mark_at])
            texts = [_texts(values, name, plan) for name, values in zip(plan.names, columns, strict=True)]
            out.write_batch(pa.RecordBatch.from_arrays(texts, schema=schema))
            rows.append(len(columns[0]))


def _batches(connection: Connection, plan: _Plan, statement: Select[Any], bounds: dict[str, Any]) -> Iterator[list[Sequence[Any]]]:
    """The rows column by column, some ten thousand at a time."""
    result = connection.execute(statement, bounds, execution_options={"yield_per": ROWS})
    if len(result.keys()) != len(plan.names):
        raise InputError(f"{plan.name}: the database gives other columns than it said a moment ago; run it again")
    utc = _utc_columns(connection, result)
    for part in result.partitions():
        columns: list[Sequence[Any]] = list(zip(*part, strict=True))
        for place in utc:  # a zero date comes as text
            moments = columns[place]
            columns[place] = [each.replace(tzinfo=UTC) if isinstance(each, datetime) else each for each in moments]
        yield columns


def _utc_columns(connection: Connection, result: Any) -> list[int]:
    if connection.dialect.name not in ("mysql", "mariadb"):
        return []
    return [place for place, told in enumerate(result.cursor.description) if told[1] == MYSQL_TIMESTAMP]


def _texts(values: Sequence[Any], name: str, plan: _Plan) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return pa.array(values, pa.string())
    if kinds == {datetime} and len({value.tzinfo is None for value in values if value is not None}) == 1:
        zone = None if next(value for value in values if value is not None).tzinfo is None else "UTC"
        shown = pc.cast(pa.array(values, pa.timestamp("us", zone)), pa.string())
        return pc.replace_substring(shown, ".000000", "")
    if foreign := sorted(kind.__name__ for kind in kinds if kind not in TEXTS and not issubclass(kind, str)):
        raise InputError(
            f"{plan.name}: column '{name}' holds {foreign[0]}, which has no text; "
            "leave it out of the fields, or turn it into text in a query of your own"
        )
    return pa.array([None if value is None else TEXTS.get(type(value), str)(value) for value in values], pa.string())


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat(" ")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") + "Z"


def _opened(context: Context, plan: _Plan, copy: Path) -> Opened:
    """The copy as a file; its hash is that of its rows in any order, which a database does not promise."""
    rows = table_hash(context.engine.read_parquet(copy))
    digest = hashlib.sha256(json.dumps([plan.feed, plan.names, rows]).encode()).hexdigest()
    size = copy.stat().st_size
    return Opened(plan.name, plan.feed, digest, size, "database", "", copy, "", 0, plan.headings, tuple(plan.shown))
