"""Small array helpers of the generator: draws, ragged ranges and the number that stands for 'never'.

All times in the generator are whole seconds of the shop's wall clock, counted as if it were UTC: the shop
keeps one offset all year, and a raw export shows wall-clock times. What has not happened is `NEVER`, so that
one comparison `time < cut` says both that it happened and that an export made at `cut` knows of it.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

DAY = 86_400
HOUR = 3_600
NEVER = 2**62
NONE = -1


def stream(seed: int, room: str, block: int) -> np.random.Generator:
    """The random numbers of one room of one block: the same whatever else runs before, beside or after."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(room.encode()), block])
    return np.random.Generator(np.random.Philox(entropy))


def pick(rng: np.random.Generator, weights: Any, size: int) -> Ints:
    """`size` indices drawn with probability proportional to `weights` (one row of weights for all)."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.minimum(np.searchsorted(edges, rng.random(size) * edges[-1], side="right"), len(edges) - 1)


def spread(counts: Ints) -> tuple[Ints, Ints]:
    """(row, rank): row i repeated counts[i] times, and the position 0, 1, … within it."""
    rows: Ints = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return rows, np.arange(len(rows)) - np.repeat(starts, counts)


def rank_within(sorted_keys: Ints) -> Ints:
    """Position 0, 1, … of each element among equal neighbours; `sorted_keys` must be sorted."""
    first: Flags = np.ones(len(sorted_keys), dtype=np.bool_)
    first[1:] = sorted_keys[1:] != sorted_keys[:-1]
    starts = np.flatnonzero(first)
    return np.arange(len(sorted_keys)) - np.repeat(starts, np.diff(np.append(starts, len(sorted_keys))))


def seconds(rng: np.random.Generator, mean: float, size: int) -> Ints:
    """Exponential waiting times in whole seconds with the given mean."""
    return (rng.exponential(mean, size)).astype(np.int64)


def at_hours(rng: np.random.Generator, times: Ints, first: int, last: int) -> Ints:
    """The same days at a random second between the hours `first` and `last`."""
    return times // DAY * DAY + rng.integers(first * HOUR, last * HOUR, len(times))
