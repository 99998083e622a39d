"""From arrays of the generator to Arrow columns: times, money, words, and dirty spellings of a few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate.arrays import NONE, Flags, Ints

Words: TypeAlias = Sequence[str | None] | pa.Array


def times(values: Ints, cut: int) -> pa.Array:
    """Wall-clock times; those that an export at `cut` cannot know are empty."""
    return pa.array(values, mask=values >= cut).cast(pa.timestamp("s"))


def dates(days: Ints, none: Flags) -> pa.Array:
    """Days since 1970 as dates."""
    return pa.array(np.where(none, 0, days).astype(np.int32), mask=none).cast(pa.date32())


def numbers(values: Ints, none: Flags | None = None) -> pa.Array:
    """Whole numbers; empty where `none`, by default where the value is NONE."""
    return pa.array(values, mask=values == NONE if none is None else none)


def money(fen: Ints, none: Flags | None = None) -> pa.Array:
    """Decimal(18, 2) from fen without going through floats; empty where `none`."""
    whole = pa.array(fen, mask=none).cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(pa.decimal128(18, 2), len(whole), whole.buffers())  # the same digits, two behind the point


def picked(words: Words, codes: Ints) -> pa.Array:
    """The word of each code; a negative code is empty."""
    return pa.array(words).take(pa.array(codes, mask=codes < 0))


def text(column: pa.Array) -> pa.Array:
    """The column as it would be printed."""
    return column.cast(pa.string())


def overwrite(column: pa.Array, where: Flags, values: Sequence[str | None]) -> pa.Array:
    """`column` as text with the flagged rows replaced by `values`, taken in turn."""
    places = int(where.sum())
    if not places:
        return column
    repeated = [values[place % len(values)] for place in range(places)]
    return pc.replace_with_mask(text(column), pa.array(where), pa.array(repeated, pa.string()))


def shop_money(fen: Ints, where: Flags) -> pa.Array:
    """Money as text; the flagged rows as a till prints them: ￥1,299.00."""
    plain = money(fen)
    if not where.any():
        return plain
    styled = [f"￥{value / 100:,.2f}" for value in fen[where].tolist()]
    return pc.replace_with_mask(text(plain), pa.array(where), pa.array(styled))


def utc(values: Ints, cut: int, offset: int) -> pa.Array:
    """Wall-clock times as UTC microseconds; unknown ones are empty."""
    return pa.array((values - offset) * 1_000_000, mask=values >= cut).cast(pa.timestamp("us", "UTC"))
