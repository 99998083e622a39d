"""What is wrong with some rows of the shop's exports: repeated rows, unknown words, dates that are none, odd
spellings.

Every decision falls on the entity when it comes into being and touches only cells that exist from then on, so
that an earlier export shows the same dirt as a later one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate.arrays import Flags, Ints

BAD_TIMES = ("2025-02-30 10:15:00", "2025/13/05 09:00", "昨天下午", "0000-00-00 00:00:00")
NULL = ("NULL",)


@dataclass(frozen=True)
class Dirt:
    """One flag per entity and kind of dirt."""

    repeated: Flags
    bad_time: Flags
    bad_word: Flags
    styled: Flags
    null_token: Flags

    @property
    def refused(self) -> Flags:
        """Rows that a loader must refuse."""
        return self.bad_time | self.bad_word


def soil(
    rng: np.random.Generator, size: int, *,
    repeated: float = 0.002, bad_time: float = 0.0, bad_word: float = 0.0, styled: float = 0.0,
    null_token: float = 0.0,
) -> Dirt:  # fmt: skip
    """Draws the dirt of `size` entities with the given shares; a refused row is not repeated as well."""
    draws = rng.random((5, size))
    shares = (repeated, bad_time, bad_word, styled, null_token)
    again, time, word, style, token = (draws[place] < share for place, share in enumerate(shares))
    return Dirt(again & ~time & ~word, time, word & ~time, style, token)


def lay_out(visible: Flags, repeated: Flags, month: Ints | None = None) -> Ints:
    """Positions of the rows as they stand in the file: by month, repeated rows twice, the copies behind."""
    shown = np.flatnonzero(visible)
    rows = np.concatenate([shown, shown[repeated[shown]]])
    return rows if month is None else rows[np.argsort(month[rows], kind="stable")]
