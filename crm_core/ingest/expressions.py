"""What a source's expressions can call beyond the common language, and which fields they touch."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from crm_core.config.sources import FeedSettings, SourceSettings, TableSettings
from crm_core.errors import InputError
from crm_core.ingest.casts import PHONE_FORMS
from crm_core.ingest.reader import file_of
from crm_core.schema.expressions import compile_expression

REVEAL_NOTHING = {"account", "year", "month", "part", "is_null", "not_null", "number_within", "count"}
"""Functions whose result may go to the lake though a private field goes in."""


def member_column(field: str, namespace: str) -> str:
    """The column that holds the pseudonymous id of account field `field`."""
    return f"_member_{field}__{namespace}"


def accounts_of(settings: SourceSettings, feed: FeedSettings) -> set[tuple[str, str]]:
    """(field, namespace) of every account that the feed's tables and contacts speak of."""
    return _accounts_in(settings, feed, _texts(feed))


def owners_of(settings: SourceSettings, feed: FeedSettings) -> set[tuple[str, str]]:
    """(field, namespace) of the accounts that rows are of: `member_id` of a table, or whose contacts they carry."""
    texts = (str(table.columns["member_id"]) for table in feed.tables.values() if "member_id" in table.columns)
    return _accounts_in(settings, feed, texts)


def _accounts_in(settings: SourceSettings, feed: FeedSettings, texts: Iterable[str]) -> set[tuple[str, str]]:
    found = {(contact.account, settings.accounts_of) for contact in feed.contacts}
    for arguments in _calls("account", texts):
        if not arguments or not isinstance(arguments[0], ast.Name):
            raise InputError("account() takes the name of a field, and perhaps a namespace in quotes")
        space = arguments[1].value if len(arguments) > 1 and isinstance(arguments[1], ast.Constant) else ""
        found.add((arguments[0].id, str(space) or settings.accounts_of))
    return found


def account_spelling(settings: SourceSettings, account_id: str) -> str:
    """An account id of the source as the fields that hold it are read: an e-mail or a phone has one spelling."""
    types = {feed.fields[name].type for feed in settings.feeds.values() for name, _ in owners_of(settings, feed)}
    if "email" in types:
        return account_id.lower()
    for pattern, put in PHONE_FORMS if "phone" in types else ():
        account_id = re.sub(pattern, put, account_id)
    return account_id


def number_column(fields: tuple[str, ...]) -> str:
    """The column that holds the place of each row among those of its file that agree in `fields`."""
    return f"_number_{'__'.join(fields)}"


def numbers_in(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """The fields of each `number_within(field, …)` in `texts`. InputError where one is given anything else."""
    found = set()
    for arguments in _calls("number_within", texts):
        fields = tuple(each.id for each in arguments if isinstance(each, ast.Name))
        if not fields or len(fields) < len(arguments):
            raise InputError("number_within() takes the names of the fields that rows agree in")
        found.add(fields)
    return found


def makes_groups(feed: FeedSettings) -> bool:
    """Whether rows of the feed mean something together only: cells are carried, or a table has `per`, or numbers them."""
    return feed.carry is not None or any(table.per or numbers_in(texts_of(table)) for table in feed.tables.values())


def numbered(rows: ir.Table, numbers: Iterable[tuple[str, ...]]) -> ir.Table:
    """`rows` (with `_row`) with the columns of `numbers`, from 1."""
    windows = {fields: ibis.window(group_by=[file_of(rows._row), *fields], order_by=rows._row) for fields in numbers}
    return rows.mutate(**{number_column(fields): ibis.row_number().over(each) + 1 for fields, each in windows.items()})


def _calls(function: str, texts: Iterable[str]) -> Iterator[list[ast.expr]]:
    for call in (node for text in texts for node in ast.walk(_tree(text))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == function:
            yield call.args


def private_fields(settings: SourceSettings, feed: FeedSettings) -> set[str]:
    """Fields whose values are never shown: marked so, or contact data, or account ids that are not plain."""
    fields = {name for name, field in feed.fields.items() if field.private}
    fields.update(name for contact in feed.contacts for name in contact.kinds().values())
    if settings.ids != "plain":
        fields.update(name for name, _ in accounts_of(settings, feed))
    return fields


def revealed(text: str, private: set[str]) -> set[str]:
    """Private fields whose value `text` would carry over as it is."""
    return {name for name in _open_names(_tree(text)) if name in private}


def row_functions(settings: SourceSettings, rows: ir.Table) -> dict[str, Callable[..., Any]]:
    """The functions of expressions over single rows."""

    def account(field: Any, namespace: str = "") -> Any:
        return rows[member_column(field.op().name, namespace or settings.accounts_of)]

    def number_within(*fields: Any) -> Any:
        return rows[number_column(tuple(field.op().name for field in fields))]

    return {"account": account, "number_within": number_within, **_PLAIN}


def group_functions(settings: SourceSettings, rows: ir.Table) -> dict[str, Callable[..., Any]]:
    """The functions of expressions over rows that `per` makes one: each looks at all rows of the group."""

    def account(field: Any, namespace: str = "") -> Any:
        return rows[member_column(field.op().name, namespace or settings.accounts_of)].min()

    return {
        "account": account,
        "total": total,
        "earliest": lambda value: value.min(),
        "latest": lambda value: value.max(),
        # the engine's own any_value depends on the order of its threads
        "any_value": lambda value: value.min(),
        "first": lambda value: value.argmin(rows._row),
        "count": lambda: rows.count(),
        **_PLAIN,
    }


def grouped(rows: ir.Table, keys: dict[str, Any], values: dict[str, Any], where: str) -> ir.Table:
    """One row per distinct `keys`, with `values`: expressions over reductions of `rows` and the keys
    themselves.

    Each reduction becomes a column of one aggregation, and the expressions are then rewritten over those
    columns. InputError names a column that stands outside a reduction and is no key.
    """
    reductions = {
        node: f"_part_{place}"
        for place, node in enumerate(
            dict.fromkeys(node for value in values.values() for node in value.op().find(ops.Reduction, filter=ops.Value))
        )
    }
    parts = rows.group_by(**keys).agg(**{name: node.to_expr() for node, name in reductions.items()}, _rows=rows.count())
    swap = {node: parts[name].op() for node, name in reductions.items()}
    swap.update({value.op(): parts[name].op() for name, value in keys.items()})
    result = {name: value.op().replace(swap).to_expr() for name, value in values.items()}
    for name, value in result.items():
        for left in value.op().find(ops.Field, filter=ops.Value):
            if left.rel == rows.op():
                raise InputError(
                    f"{where}, {name}: '{left.name}' differs within a group; say which value is meant with "
                    "total(), earliest(), latest(), first() or any_value(), or add it to `per`"
                )
    return parts.select(*keys, **result)


def amounts(table: ir.Table, texts: dict[str, str], where: str, functions: dict[str, Any] | None = None) -> dict[str, Any]:
    """The expressions `texts` over `table`, by name, of which sums are made. InputError where one is a floating number."""
    found: dict[str, Any] = {}
    for name, text in texts.items():
        found[name] = compile_expression(text, table, where=f"{where} '{name}'", functions=functions)
        if found[name].type().is_floating():
            raise InputError(f"{where} '{name}': '{text}' is a floating number; sums of money are of type money or price")
    return found


def total(value: Any) -> Any:
    """The sum of `value`, exact for money."""
    kind = value.type()
    return value.sum().cast(f"decimal(38, {kind.scale})") if kind.is_decimal() else value.sum()


def _day(value: Any) -> Any:
    if not value.type().is_date():
        raise InputError("year() and month() take a field of type date")
    return value


def _part(text: Any, separator: str, number: int) -> Any:
    # a text without the separator is no part but the whole, which a private field must not show
    found = text.split(separator)[number - 1].strip().nullif("")
    return text.contains(separator).ifelse(found, ibis.null("string"))


def _told_apart(function: str, values: tuple[Any, ...]) -> Any:
    # the length before each text keeps 'a' + 'bc' apart from 'ab' + 'c', and null from ''
    texts = [value.cast("string") if isinstance(value, ir.Value) else ibis.literal(str(value)) for value in values]
    marked = [(text.length().cast("string") + ":" + text).fill_null("-") for text in texts]
    if not marked:
        raise InputError(f"{function}() takes the names of the fields that tell rows apart")
    return ibis.literal("").join(marked)


@ibis.udf.scalar.builtin(name="md5_number_lower", signature=(("string",), "uint64"))
def _md5_number(text: str) -> int:
    """Half of the MD5 of a text."""


def _number_of(*values: Any) -> Any:
    # 52 bits: exact in every spreadsheet and in JSON, and two lines of an order share one once in 10^14
    return (_md5_number(_told_apart("number_of", values)) % ibis.literal(2**52, "uint64")).cast("int64")


_PLAIN: dict[str, Callable[..., Any]] = {
    "fingerprint": lambda *values: _told_apart("fingerprint", values).hexdigest("md5"),
    "number_of": _number_of,
    "year": lambda value: _day(value).year().cast("int64"),
    "month": lambda value: _day(value).month().cast("int64"),
    "part": _part,
}


def texts_of(table: TableSettings) -> Iterator[str]:
    """Every expression of one entry of `tables`."""
    yield from (str(text) for text in table.columns.values())
    yield from table.per
    yield from (text for text in (table.when, table.effective_at) if text)


def _texts(feed: FeedSettings) -> Iterator[str]:
    for table in feed.tables.values():
        yield from texts_of(table)


def _tree(text: str) -> ast.AST:
    try:
        return ast.parse(f"({text.strip()}\n)", mode="eval")
    except (SyntaxError, ValueError):
        return ast.Module([], [])  # compiling it names what is wrong


def _open_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REVEAL_NOTHING:
        return
    if isinstance(node, ast.Name):
        yield node.id
    if isinstance(node, ast.IfExp):  # what is only asked about is not carried over
        yield from _open_names(node.body)
        yield from _open_names(node.orelse)
        return
    if isinstance(node, ast.Compare):
        return
    for child in ast.iter_child_nodes(node):
        yield from _open_names(child)
