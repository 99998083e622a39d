"""Shops drawn by a known process, in a real lake: members buy at their own rate until, after each order by chance, they stop."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_core.models import Task
from crm_core.workspace import Workspace
from tests.measures.daily_shop import typed

LAST = date(2026, 10, 31)
DAYS = 500


def drawn(
    members: int, seed: int, *, dropout: float = 0.05, mean_gap: float = 30.0, spread: float = 0.7, days: int = DAYS
) -> pd.DataFrame:
    """member, at (days since the shop opened, up to `days`): every order. Rates are gamma with shape `spread`; each order is the
    last with chance `dropout`; members begin evenly over the first nine tenths of the time."""
    draw = np.random.default_rng(seed)
    begin = draw.uniform(0, days * 0.9, members)
    rate = draw.gamma(spread, 1 / (spread * mean_gap), members)
    lives = draw.geometric(dropout, members) if dropout else np.full(members, 10_000)
    most = int(rate.max() * days * 2) + 40
    gaps = draw.exponential(1, (members, most)) / rate[:, None]
    at = begin[:, None] + np.concatenate([np.zeros((members, 1)), gaps.cumsum(axis=1)], axis=1)
    kept = (at < days) & (np.arange(most + 1)[None, :] < lives[:, None])
    member, _ = np.nonzero(kept)
    return pd.DataFrame({"member": member, "at": at[kept]})


def shop(root: Path, orders: pd.DataFrame, *, until: date = LAST, shuffle: int = 0, category: Any = None) -> Workspace:
    """A workspace whose lake holds `orders` as paid orders, the last moment of the drawn time on `until`; `shuffle` seeds another
    order of rows; `category` (one per order) gives each order one line of a product of it."""
    root.mkdir(parents=True)
    workspace = Workspace.open(root)
    start = pd.Timestamp(until + timedelta(days=1)) - pd.Timedelta(days=DAYS) - pd.Timedelta(hours=8)
    moment = (start + pd.to_timedelta((orders["at"] * 86400).astype("int64"), unit="s")).astype("datetime64[us]")
    amounts = np.round(np.random.default_rng(1).gamma(3, 40, len(orders)) + 5, 2)
    rows = pd.DataFrame({
        "order_id": [f"o{number:07d}" for number in range(len(orders))],
        "member_id": [f"m{number:06d}" for number in orders["member"]],
        "ordered_at": moment, "paid_at": moment, "channel": "store", "currency": "CNY", "gross_amount": amounts,
        "discount_amount": 0.0, "shipping_amount": 0.0, "net_amount": amounts, "_effective_at": moment,
    })  # fmt: skip
    tables = {"orders": rows}
    if category is not None:
        tables["order_lines"] = rows[["order_id", "ordered_at", "_effective_at"]].assign(
            line_no=1, product_id=category, quantity=1.0, unit_price=amounts, line_amount=amounts
        )
        names = sorted(set(category))
        tables["products"] = pd.DataFrame({"product_id": names, "category": names, "_effective_at": start})
    with workspace.lake.write("load", "tests") as writer:
        for name, frame in tables.items():
            mixed = frame.sample(frac=1, random_state=shuffle) if shuffle else frame
            writer.upsert(name, typed(name, mixed), load_id="drawn")
        writer.cover(until)
    return Workspace.open(root, until if until <= LAST else LAST)


def task(workspace: Workspace, **settings: Any) -> Task:
    """What a model of this workspace gets; `settings` change sections of conf/models.yml: churn={'days': 60}."""
    chosen = workspace.config.models
    changed = {name: getattr(chosen, name).model_copy(update=values) for name, values in settings.items()}
    return Task(
        workspace.tables, workspace.features, chosen.model_copy(update=changed), workspace.engine,
        workspace.data_dir / "spill",
    )  # fmt: skip
