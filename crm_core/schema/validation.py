"""Checks of a table against its schema as one engine query, and typed empty tables."""

from __future__ import annotations

from functools import reduce

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from crm_core.schema.expressions import compile_expression
from crm_core.schema.table import Column, TableSchema


def empty(schema: TableSchema) -> ir.Table:
    """A table without rows that has the schema's columns and types."""
    types = ibis.schema(schema.types())
    return ibis.memtable(pa.table({name: pa.array([], kind) for name, kind in zip(types, types.to_pyarrow().types, strict=True)}))


def violations(table: ir.Table, schema: TableSchema) -> ir.StringValue:
    """What is wrong with each row of `table`: the broken rules' names joined by '; ', null when all hold.

    A rule that cannot be decided because an input is null counts as held; a null where none is allowed is its own
    violation. The result is a column expression over `table`, so failing keys come from a filter at engine speed.
    """
    checks = [(f"{schema.name}.{name}: {problem}", broken) for name, problem, broken in _column_checks(table, schema)]
    checks += [(f"{schema.name}: {name}", broken) for name, broken in broken_rules(table, schema).items()]
    messages = [broken.ifelse(ibis.literal(f"{text}; "), ibis.literal("")) for text, broken in checks]
    joined: ir.StringValue = reduce(lambda left, right: left + right, messages)
    # the sentence is put together only where there is something to say
    any_broken: ir.BooleanValue = reduce(lambda left, right: left | right, [broken for _, broken in checks])
    return any_broken.ifelse(joined.nullif(""), ibis.null("string"))


def broken_rules(table: ir.Table, schema: TableSchema) -> dict[str, ir.BooleanValue]:
    """Rule name → whether a row of `table` breaks it, never null: a rule that cannot be decided counts as held."""
    found = {}
    for rule in schema.rules:
        holds = compile_expression(rule.expression, table, where=f"schema {schema.name}, rule '{rule.name}'")
        found[rule.name] = ~holds.fill_null(True)
    return found


def _column_checks(table: ir.Table, schema: TableSchema) -> list[tuple[str, str, ir.BooleanValue]]:
    found: list[tuple[str, str, ir.BooleanValue]] = []
    for column in schema.columns:
        if column.name not in table.columns:
            continue
        value = table[column.name]
        if not column.nullable:
            found.append((column.name, "is empty", value.isnull()))
        if column.vocabulary:
            found.append((column.name, _not_a_word(column), (~value.isin(column.vocabulary)).fill_null(False)))
    return found


def _not_a_word(column: Column) -> str:
    shown = ", ".join(column.vocabulary[:12]) + (" …" if len(column.vocabulary) > 12 else "")
    return f"not one of {shown}"
