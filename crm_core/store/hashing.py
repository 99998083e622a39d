"""Hashes in the engine: of one row, of a whole table whatever its order, and the salted order that decides at random."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir

SEPARATOR = "\x1f"
NULL = "\x1e"  # a NUL would end the statement in DuckDB


def row_hash(table: ir.Table, columns: Sequence[str]) -> ir.StringValue:
    """MD5 (hex) of the canonical text of `columns` in the order given; nulls are kept apart from empty text, and a column
    that the table lacks counts as null.
    """
    parts = [canonical_text(table[name]) if name in table.columns else ibis.literal(NULL) for name in columns]
    return ibis.literal(SEPARATOR).join(parts).hexdigest("md5")


def canonical_text(value: ir.Value) -> ir.StringValue:
    """One text per value, the same on every engine; null becomes a record separator."""
    if value.type().is_timestamp():
        text = value.cast("timestamp(6)").cast("string")  # '2026-10-31 16:00:00.5': both engines drop trailing noughts
    elif value.type().is_floating():
        # nine decimals: a sum of floats may differ in the last bits from run to run
        fixed = value.round(9).try_cast("decimal(38, 9)").cast("string")
        text = fixed.coalesce(value.cast("string"))  # what no decimal holds: 1e30, inf, nan
    else:
        text = value.cast("string")
    return text.fill_null(NULL)


def salted_order(value: ir.StringValue, salt: str) -> ir.StringValue:
    """A text whose sorted order is random in `salt` and the same on every engine: MD5 (hex) of salt and value."""
    return (ibis.literal(salt + SEPARATOR) + value).hexdigest("md5")


def salted_bucket(value: ir.StringValue, salt: str, buckets: int) -> ir.IntegerValue:
    """0 … buckets − 1, random in `salt` and the same on every engine: the first 28 bits of `salted_order`, modulo `buckets`."""
    digest, digits = salted_order(value, salt), ibis.literal("0123456789abcdef")
    number: Any = sum((digits.find(digest[place]) * 16 ** (6 - place) for place in range(7)), ibis.literal(0))
    return number % buckets


def table_hash(table: ir.Table, columns: Sequence[str] | None = None) -> str:
    """SHA-256 (hex) over the sorted rows of `table`; the order of rows and files does not matter, that of columns neither.

    The engine hashes each row and each of 4,096 buckets of sorted row hashes; only the buckets reach Python.
    """
    names = sorted(columns if columns is not None else table.columns)
    rows = table.select(row=row_hash(table, names))
    buckets = (
        rows.group_by(bucket=rows.row[:3])
        .agg(content=rows.row.group_concat("", order_by=rows.row).hexdigest("md5"), rows=rows.row.count())
        .order_by("bucket")
        .to_pyarrow()
    )
    digest = hashlib.sha256(SEPARATOR.join(names).encode())
    for bucket, content, count in zip(*(buckets[name].to_pylist() for name in ("bucket", "content", "rows")), strict=True):
        digest.update(f"{bucket}:{content}:{count}\n".encode())
    return digest.hexdigest()


def as_float(value: ir.Value) -> ir.FloatingValue:
    """Money as a float, for a mean, variance, ratio, product or chart; sums, filters and keys stay decimal.

    ibis computes the mean of decimals in decimals (0.01, 0.02, 0.02 → 0.02), so every such use goes through here.
    """
    return value.cast("float64")
