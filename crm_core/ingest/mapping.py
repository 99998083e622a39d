"""Accepted rows of a file made into rows of the canonical tables, and checked there against the schema's
rules.

A group (`per`) is a group of one file: the same lines exported twice make the same rows, which the store then
recognises, instead of adding up. A row that breaks a rule of its table takes all file rows that it came from
with it, out of every other table too, so that a file row is either wholly accepted or wholly rejected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.config.sources import TableSettings
from crm_core.errors import InputError, RunFailed, unknown
from crm_core.ingest import casts
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.expressions import (
    accounts_of,
    amounts,
    group_functions,
    grouped,
    member_column,
    number_column,
    numbers_in,
    private_fields,
    revealed,
    row_functions,
    texts_of,
    total,
)
from crm_core.ingest.reader import LAYOUT, file_of
from crm_core.ingest.rows import Context, Staged
from crm_core.schema import LOAD, TABLES, TableSchema, violations
from crm_core.schema.expressions import compile_expression, condition
from crm_core.store import Vault, utc_time
from crm_core.store.vault import ID_LENGTH

PLANS = ("ends_at", "expires_at", "due_at", "expected_close_at")
"""Times that say what is meant to happen; they never date a state."""
ROUNDS = 20
_SOUND: set[str] = set()
"""Settings of sources whose expressions were compiled already."""


Members = dict[tuple[str, str], ir.Table]
"""(account field, namespace) → account_id, member_id, namespace."""


@dataclass(frozen=True)
class Totals:
    """What one look through an entry's rows tells: how many they are, how many break a rule of the table, the latest
    `_effective_at`, and the sums of money by the name of their balance.
    """

    rows: int
    broken: int
    newest: datetime | None
    sums: dict[str, Decimal]


@dataclass(frozen=True)
class Mapped:
    """Rows of one entry of `tables`: the table's columns that the source states, `_effective_at`, and the file rows they
    came from. `checked` is the same, but that account ids may stand in the place of member ids: quicker to look through
    where each row is made of one row of the file, because nothing is joined and nothing was written down. `distinct`: no
    two rows have one key.
    """

    entry: str
    table: str
    rows: ir.Table
    checked: ir.Table
    totals: Totals
    distinct: bool = False


def map_batch(context: Context, vault: Vault, staged: Staged) -> tuple[Staged, list[Mapped], Members]:
    """Every table of a batch, the batch with the rejects that the tables' rules added, and its accounts'
    member ids.
    """
    members = _members(context, vault, staged)
    for _ in range(ROUNDS):
        mapped = [_entry(context, staged, members, entry) for entry in staged.feed.tables]
        broken = [rejects for item in mapped if (rejects := _broken(context, staged, members, item)) is not None]
        if not broken:
            return staged, mapped, members
        for rejects in broken:
            staged = staged.refuse(rejects)
        members = _members(context, vault, staged)
    raise RunFailed(f"{staged.batch.label}: its rows break ever new rules as others are refused; look at the rejects")


def _members(context: Context, vault: Vault, staged: Staged) -> Members:
    """For each account field the table account id → member id, made once per distinct account."""
    members: Members = {}
    accepted = staged.accepted()
    for place, (field, namespace) in enumerate(sorted(accounts_of(context.settings, staged.feed))):
        ids = accepted.select(account_id=accepted[field].cast("string")).filter(lambda t: t.account_id.notnull())
        keyed = vault.keyed(ids.distinct(), {"member_id": (namespace, "account_id")}, ID_LENGTH)
        if context.settings.ids == "plain":
            keyed = ids.distinct().mutate(member_id=ibis._.account_id)
        path = staged.work / f"members_{staged.batch.name}_{place}_{len(staged.rejected)}.parquet"
        with engine_errors(staged.batch.label):
            context.engine.to_parquet(keyed.mutate(namespace=ibis.literal(namespace)), path, **LAYOUT)
        members[field, namespace] = context.engine.read_parquet(path)
    return members


def with_ids(context: Context, staged: Staged, members: Members, numbers: Iterable[tuple[str, ...]] = ()) -> ir.Table:
    """Accepted rows with a column of member ids for each account field."""
    rows = staged.accepted(numbers)
    for (field, namespace), known in members.items():
        ids = known.select("account_id", **{member_column(field, namespace): known.member_id})
        rows = rows.left_join(ids, rows[field].cast("string") == ids.account_id).drop("account_id")
    return rows


def _entry(context: Context, staged: Staged, members: Members, entry: str) -> Mapped:
    settings = staged.feed.tables[entry]
    where = f"{context.where}, feeds.{staged.batch.feed}.tables.{entry}"
    numbers = numbers_in(texts_of(settings))
    table = build(context, with_ids(context, staged, members, numbers), settings, entry, where)
    if settings.per or numbers:
        path = staged.work / f"table_{staged.batch.name}_{entry}.parquet"
        with engine_errors(staged.batch.label):
            context.engine.to_parquet(table, path, **LAYOUT)
        table = context.engine.read_parquet(path)
        return Mapped(entry, settings.table or entry, table, table, _totals(context, staged, entry, table))
    rows = staged.accepted()
    accounts = {member_column(field, namespace): rows[field].cast("string") for field, namespace in members}
    checked = build(context, rows.mutate(**accounts), settings, entry, where)
    keys = {str(settings.columns[name]) for name in TABLES[settings.table or entry].key}
    totals = _totals(context, staged, entry, checked)
    return Mapped(entry, settings.table or entry, table, checked, totals, distinct=keys == set(staged.distinct))


def _totals(context: Context, staged: Staged, entry: str, rows: ir.Table) -> Totals:
    texts = {balance.name: balance.written[entry] for balance in staged.feed.balance if entry in balance.written}
    money = amounts(rows, texts, f"{context.where}, balance")
    looked = rows.select("_problem", "_effective_at", **{f"_sum_{name}": value for name, value in money.items()})
    sums = {f"_sum_{name}": total(looked[f"_sum_{name}"]) for name in texts}
    asked = {"rows": looked.count(), "broken": looked._problem.count(), "newest": looked._effective_at.max()}
    with engine_errors(staged.batch.label):
        found = looked.aggregate(**asked, **sums).to_pyarrow().to_pylist()[0]
    amount = {name: Decimal(found[f"_sum_{name}"] or 0) for name in texts}
    return Totals(found["rows"], found["broken"], found["newest"], amount)


def build(context: Context, rows: ir.Table, settings: TableSettings, entry: str, where: str) -> ir.Table:
    """The expression of one entry: content columns of its table that have a value, `_effective_at`, `_problem`, and
    `_row` or the group's keys.
    """
    schema = TABLES[settings.table or entry]
    if settings.when:
        rows = rows.filter(condition(settings.when, rows, where=f"{where}.when", functions=_functions(context, rows, ())))
    functions = _functions(context, rows, settings.per)
    texts = {name: str(text) for name, text in settings.columns.items()}
    if settings.effective_at:
        texts["_effective_at"] = settings.effective_at
    values: dict[str, Any] = {
        name: compile_expression(text, rows, where=f"{where}.{name}", functions=functions) for name, text in texts.items()
    }
    if settings.per:
        keys = _keys(rows, settings, f"{where}.per")
        made, origin = grouped(rows, keys, values, where), list(keys)
    else:
        made, origin = rows.select("_row", **values), ["_row"]
    typed = _canonical(context, made, schema, texts, origin)
    problems: Any = violations(typed, schema)
    no_time = typed._effective_at.isnull().ifelse(f"{schema.name}: no time says since when this holds", None)
    unsaid = [name for name in schema.names if name in typed.columns and name not in (*texts, "currency")]
    return typed.mutate(_problem=ibis.coalesce(problems.re_replace("; $", ""), no_time)).drop(*unsaid)


def _keys(rows: ir.Table, settings: TableSettings, where: str) -> dict[str, Any]:
    """What makes a group: the file and the expressions of `per`."""
    given = [compile_expression(text, rows, where=where) for text in settings.per]
    return {"_file": file_of(rows._row), **{f"_key{place}": value for place, value in enumerate(given)}}


def _functions(context: Context, rows: ir.Table, per: tuple[str, ...]) -> dict[str, Any]:
    made = group_functions if per else row_functions
    return {**made(context.settings, rows), **context.days}


def _canonical(context: Context, made: ir.Table, schema: TableSchema, texts: dict[str, str], origin: list[str]) -> ir.Table:
    of_load = {column.name for column in LOAD}
    columns: dict[str, Any] = {}
    for column in schema.columns:
        if column.name in of_load:
            continue
        value = made[column.name] if column.name in texts else ibis.null(column.type)
        columns[column.name] = _cast(context, value, column.type)
        if column.free_text and column.name in texts:
            columns[column.name] = casts.veil(columns[column.name])
        if column.name == "currency":
            usual = ibis.literal(context.currency)
            columns["currency"] = columns["currency"].fill_null(usual) if "currency" in texts else usual
    times = [columns[name] for name in texts if name in columns and _is_fact(schema, name)]
    if "_effective_at" in texts:
        moment = _cast(context, made["_effective_at"], "timestamp(6)")
    else:
        moment = ibis.greatest(*times) if len(times) > 1 else times[0]
    return made.select(*origin, **columns, _effective_at=moment)


def _is_fact(schema: TableSchema, name: str) -> bool:
    return schema.column(name).type.startswith("timestamp") and name not in PLANS


def _cast(context: Context, value: Any, kind: str) -> Any:
    if value.type().is_date() and kind.startswith("timestamp"):
        return utc_time(value.cast("timestamp(6)"), context.zone)
    if value.type() == ibis.dtype(kind):
        return value
    # a number too large for its column becomes empty, and so a reject, instead of stopping the load
    return value.try_cast(kind) if value.type().is_numeric() and kind.startswith("decimal") else value.cast(kind)


def _broken(context: Context, staged: Staged, members: Members, item: Mapped) -> ir.Table | None:
    """File rows that made a row of the table which breaks a rule: _row, field, reason; None when all hold."""
    if not item.totals.broken:
        return None
    bad = item.checked.filter(item.checked._problem.notnull())
    settings = staged.feed.tables[item.entry]
    if settings.per:
        rows = with_ids(context, staged, members)
        where = f"{context.where}, tables.{item.entry}"
        if settings.when:
            functions = _functions(context, rows, ())
            rows = rows.filter(condition(settings.when, rows, where=where, functions=functions))
        keys = _keys(rows, settings, where)
        same = [key.identical_to(bad[name]) for name, key in keys.items()]
        found = rows.inner_join(bad.select(*keys, "_problem"), same)
    else:
        found = bad
    rejects = found.select("_row", field=ibis.literal(item.entry), reason=found._problem)
    path = staged.work / f"broken_{staged.batch.name}_{item.entry}_{len(staged.rejected)}.parquet"
    context.engine.to_parquet(rejects, path)
    return context.engine.read_parquet(path)


def check_source(context: Context) -> None:
    """Compiles every expression of a source without any data, once in a process. InputError names the place of what is wrong."""
    settings = context.settings
    known = f"{settings.model_dump_json()} {context.zone} {context.currency} {context.country}"
    if known in _SOUND:
        return
    for name, feed in settings.feeds.items():
        types = {field: casts.TYPES[item.type] for field, item in feed.fields.items()}
        accounts = accounts_of(settings, feed)
        for field, _ in accounts:
            if field not in feed.fields:
                raise unknown("field", field, feed.fields, f"{context.where}, account() in feeds.{name}")
        ids = {member_column(field, space): "string" for field, space in accounts}
        texts = [*(each.rows for each in feed.balance), *(text for table in feed.tables.values() for text in texts_of(table))]
        places = {number_column(fields): "int64" for fields in numbers_in(texts)}
        rows = ibis.table({"_row": "int64", **types, **ids, **places}, name="rows")
        for rule in feed.reject_when:
            condition(rule.rule, rows, where=f"{context.where}, feeds.{name}.reject_when")
        for contact in feed.contacts:
            compile_expression(contact.seen_at, rows, where=f"{context.where}, feeds.{name}.contacts.seen_at")
        private = private_fields(settings, feed)
        made = {}
        for entry, table in feed.tables.items():
            where = f"{context.where}, feeds.{name}.tables.{entry}"
            _check_entry(table, entry, private, where)
            made[entry] = build(context, rows, table, entry, where)
        for balance in feed.balance:
            where = f"{context.where}, feeds.{name}.balance '{balance.name}'"
            compile_expression(balance.rows, rows, where=where, functions=row_functions(settings, rows))
            for entry, text in balance.written.items():
                compile_expression(text, made[entry], where=where)
    _SOUND.add(known)


def _check_entry(table: TableSettings, entry: str, private: set[str], where: str) -> None:
    target = table.table or entry
    if target not in TABLES:
        raise unknown("table", target, TABLES, where)
    schema = TABLES[target]
    of_load = {column.name for column in LOAD}
    for column, text in table.columns.items():
        if column in of_load or column not in schema.names:
            raise unknown("column", column, [name for name in schema.names if name not in of_load], where)
        if carried := revealed(str(text), private):
            raise InputError(
                f"{where}.{column}: the private field '{min(carried)}' would stand in the lake; "
                "account ids go in as account(field), contact data under `contacts`"
            )
    if missing := [name for name in schema.key if name not in table.columns]:
        raise InputError(f"{where}: no column gives the key of {target}: {', '.join(missing)}")
    given = {*table.columns, *of_load, "currency"}
    if lacking := [column.name for column in schema.columns if not column.nullable and column.name not in given]:
        raise InputError(
            f"{where}: {target} needs a value in each row for {', '.join(lacking)}; give each a field, or what holds for all "
            "rows, such as 0"
        )
    if not table.effective_at and not any(_is_fact(schema, name) for name in table.columns):
        raise InputError(f"{where}: no column is a time, so `effective_at` must say since when the row holds")
