"""Events of one block as columns: collected part by part in a `Book`, numbered once when it closes."""

from __future__ import annotations

from typing import Any

import numpy as np

from crm_core.simulate.arrays import NONE, Ints
from crm_core.simulate.words import code

FAMILIES = {"journey": 1, "engagement": 2, "service": 3, "messaging": 4}
COLUMNS = (
    "row", "visitor", "at", "event", "channel", "campaign", "product", "order_id", "coupon_id", "case_id",
    "opportunity", "owner", "seconds", "quantity", "amount", "detail",
)  # fmt: skip
Events = dict[str, Ints]
"""Column → values; NONE (-1) where a column says nothing; `event_id` is there after `Book.close`."""


class Book:
    """Collects the events of one family and block. Times outside [first, last) are left out."""

    def __init__(self, family: str, block: int, first: int, last: int, later: bool = False) -> None:
        self._base = ((FAMILIES[family] + (4 if later else 0)) * 10**5 + block) * 10**10
        self._first, self._last = first, last
        self._parts: list[Events] = []

    def add(self, event: str | Ints, at: Ints, **columns: Any) -> None:
        """Events at `at`; every other column is an array of that length or one value for all."""
        size = len(at)
        given = {"at": at, "event": code(event) if isinstance(event, str) else event, **columns}
        inside = (at >= self._first) & (at < self._last)
        part = {name: np.broadcast_to(np.asarray(given.get(name, NONE), dtype=np.int64), size) for name in COLUMNS}
        self._parts.append({name: values[inside] for name, values in part.items()})

    def close(self) -> Events:
        """All events, each with an id that depends on nothing but the block and the order of adding."""
        parts = self._parts or [{name: np.zeros(0, dtype=np.int64) for name in COLUMNS}]
        found = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        found["event_id"] = self._base + np.arange(len(found["at"]))
        return found


def some(rng: np.random.Generator, size: int, share: float) -> Ints:
    """Positions 0 … size-1, each taken with chance `share`."""
    return np.flatnonzero(rng.random(size) < share)
