"""Refunds: cancelled orders, returned lines, partial refunds, price adjustments; some of them months late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate.arrays import DAY, HOUR, NEVER, NONE, Flags, Ints, seconds
from crm_core.simulate.orders import Orders
from crm_core.simulate.world import World

ONLY_MONEY, RETURN, CANCELLATION, ADJUSTMENT = range(4)


@dataclass(frozen=True)
class Refunds:
    """Refunds, a column an array; `order` is the position of the order, `named` whether the refund names
    it."""

    refund_id: Ints
    order: Ints
    named: Flags
    row: Ints
    at: Ints
    line_no: Ints
    quantity: Ints
    amount: Ints
    kind: Ints
    reason: Ints

    def __len__(self) -> int:
        return len(self.order)


def refunds(world: World, found: Orders, block: int, room: str) -> Refunds:
    """At most one refund an order beside a later price adjustment; together never more than was paid."""
    rng = world.rng(room, block)
    size = len(found)
    cancelled = (found.closed < NEVER) & (found.paid < NEVER)
    delivered = found.delivered < NEVER
    wanted = delivered & (rng.random(size) < 0.055)
    adjusted = delivered & ~wanted & (rng.random(size) < 0.006)
    lag = HOUR + seconds(rng, 4 * DAY, size)
    late = rng.random(size) < 0.07
    lag = np.where(late, lag + rng.integers(60 * DAY, 200 * DAY, size), lag)
    returned = rng.random(size) < 0.6
    line_no, quantity, line_amount = _a_line(rng, found)
    part = np.maximum((found.net * rng.uniform(0.1, 0.6, size)).astype(np.int64), 1)
    reason = rng.integers(0, 7, size)
    parts = []
    for number, (mask, kind) in enumerate(((cancelled, CANCELLATION), (wanted, RETURN), (adjusted, ADJUSTMENT)), 1):
        at_line = mask & returned & (kind == RETURN)
        amount = np.where(at_line, line_amount, part)
        if kind == CANCELLATION:
            amount = found.net
        elif kind == ADJUSTMENT:
            amount = np.maximum(found.net // 20, 1)
        kinds = np.where(at_line, RETURN, ONLY_MONEY) if kind == RETURN else np.full(size, kind)
        columns = {
            "refund_id": found.order_id * 10 + number, "order": np.arange(size), "row": found.row,
            "named": np.full(size, kind != ADJUSTMENT) | returned,
            "at": found.closed if kind == CANCELLATION else found.delivered + lag,
            "line_no": np.where(at_line, line_no, NONE), "quantity": np.where(at_line, quantity, NONE),
            "amount": amount, "kind": kinds, "reason": np.full(size, 7) if kind == ADJUSTMENT else reason,
        }  # fmt: skip
        chosen = mask & (columns["at"] < world.clock.end)
        parts.append({name: values[chosen] for name, values in columns.items()})
    return Refunds(**{name: np.concatenate([each[name] for each in parts]) for name in parts[0]})


def _a_line(rng: np.random.Generator, found: Orders) -> tuple[Ints, Ints, Ints]:
    """For each order one of its lines: (line number, units, its share of what was paid for goods, in fen)."""
    lines = found.lines
    counts = np.bincount(lines.order, minlength=len(found))
    first = np.cumsum(counts) - counts
    chosen = first + (rng.random(len(found)) * counts).astype(np.int64)
    worth = lines.price[chosen] * lines.quantity[chosen]
    amount = (found.net - found.freight) * worth // np.maximum(found.gross, 1)
    return lines.line_no[chosen], lines.quantity[chosen], np.maximum(amount, 1)
