"""Tags from features: one engine query gives the wide table, one row a member and one column a tag."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.config.tags import Tag, TagSettings
from crm_core.errors import InputError
from crm_core.measures import empty_features, functions
from crm_core.schema.expressions import compile_expression, condition, yes_or_no
from crm_core.tags.inputs import WHERE, Sources, check_models, inputs, kept_column, list_column, texts

YES = "true"
"""The value of an uploaded list that gives none: such a list is a yes-or-no tag."""


def compute(features: ir.Table, settings: TagSettings, as_of: date | None = None, sources: Sources | None = None) -> ir.Table:
    """member_id and one column per tag, lazily, in the order of conf/tags.yml.

    Yes-or-no tags are never null (unknown counts as no); tags with cases are text, null when no case
    holds and there is no `otherwise`; statistics have the type of their expression; an uploaded list is text, 'true' where
    it gives no values. With `as_of`, tags that expired before are null. InputError when an expression cannot be read.
    """
    rows = inputs(features, settings, sources)
    columns = {name: value_of(name, tag, rows, as_of) for name, tag in settings.tags.items()}
    return rows.select("member_id", **columns)


def long(wide: ir.Table) -> ir.Table:
    """member_id, tag, value (text) from the result of `compute`: one row per tag that a member has.

    'No' and unknown are no rows; a yes is 'true'.
    """
    names = [name for name in wide.columns if name not in ("member_id", "as_of")]
    if not names:
        return wide.select("member_id", tag=ibis.null("string"), value=ibis.null("string")).limit(0)
    parts = [
        wide.select("member_id", tag=ibis.literal(name), value=wide[name].cast("string"), _no=~has(wide[name])) for name in names
    ]
    stacked = ibis.union(*parts)
    return stacked.filter(stacked.value.notnull(), ~stacked._no).drop("_no")


def has(value: ir.Value) -> Any:
    """Whether a member has a tag: a yes, or any value."""
    return value.fill_null(False) if value.type().is_boolean() else value.notnull()


def check(settings: TagSettings, known: Collection[str] = ()) -> None:
    """Compiles every tag against the features that exist, and the segments `known` where they are given. InputError with all
    that is wrong, one a line.
    """
    problems = []
    for name, tag in settings.tags.items():
        one = settings.model_copy(update={"tags": {name: tag}})
        try:
            check_models(one)
            value_of(name, tag, inputs(empty_features(), one, Sources(known=known)), None)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))


def value_of(name: str, tag: Tag, rows: ir.Table, as_of: date | None) -> ir.Value:
    """The value of one tag for every row of `rows`, a table of `inputs`."""
    value = _value(name, tag, rows)
    if tag.update == "keep":
        before: Any = rows[kept_column(name)]
        if before.type() == value.type():  # what another definition said in another type is not kept
            value = value | before.fill_null(False) if value.type().is_boolean() else value.coalesce(before)
    return ibis.null(value.type()) if expired(tag, as_of) else value


def expired(tag: Tag, as_of: date | None) -> bool:
    """Whether the tag is no longer computed on `as_of`."""
    return as_of is not None and tag.expires_on is not None and as_of > tag.expires_on


def conditions(name: str, tag: Tag) -> list[tuple[str | None, str, str]]:
    """(value or None for a yes, condition, place for errors) of each condition of a rule, in order."""
    if tag.value is not None or tag.kind == "list":
        return []
    values: list[str | None] = [case.value for case in tag.cases]
    return [(value, text, where) for value, (where, text) in zip(values or [None], texts(name, tag), strict=True)]


def _value(name: str, tag: Tag, rows: ir.Table) -> Any:
    calls = functions(rows)
    if tag.kind == "list":
        return rows[list_column(name)]
    if tag.value is not None:
        return _storable(compile_expression(tag.value, rows, where=f"{WHERE}, tag '{name}'", functions=calls))
    if tag.when is not None:
        return condition(tag.when, rows, where=f"{WHERE}, tag '{name}'", functions=calls)
    branches = [(yes_or_no(when, rows, where=where, functions=calls), value) for value, when, where in conditions(name, tag)]
    return ibis.cases(*branches, else_=ibis.literal(tag.otherwise, type="string"))


def _storable(value: Any) -> Any:
    """Few, wide types, so that a changed definition seldom changes the type of a stored column."""
    kind = value.type()
    if kind.is_integer():
        return value.cast("int64")
    if kind.is_decimal():
        return value.cast(f"decimal(38, {min(kind.scale or 0, 6)})")
    return value.cast("string") if kind.is_null() else value
