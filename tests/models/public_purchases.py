"""CDNOW's tenth and the donations of a radio station, as the lifetimes package ships them (published by Fader and Hardie)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import lifetimes.datasets
import numpy as np
import pandas as pd

from tests.tiny_world import order, world

FOLDER = Path(lifetimes.datasets.__file__).parent
CALIBRATED = date(1997, 9, 30)
ENDED = date(1998, 6, 30)


def cdnow_rows() -> pd.DataFrame:
    """One row per transaction: customer, day, usd; 6,919 of 2,357 customers."""
    names = ["master", "customer", "day", "cds", "usd"]
    rows = pd.read_csv(FOLDER / "CDNOW_sample.txt", sep=r"\s+", names=names, dtype=str)
    return rows.assign(day=pd.to_datetime(rows.day, format="%Y%m%d"), usd=rows.usd.map(Decimal))


def cdnow_tables(rows: pd.DataFrame, as_of: date = ENDED, **more: Any) -> Any:
    """The transactions as paid orders at noon, UTC."""
    orders = [
        order(str(number), row.customer, f"{row.day:%Y-%m-%d} 12:00", str(row.usd)) for number, row in enumerate(rows.itertuples())
    ]
    return world(as_of.isoformat(), zone=ZoneInfo("UTC"), orders=orders, **more)


def donations() -> dict[str, np.ndarray]:
    """x, t_x, n, weight of 11,104 donors of 1995, six years on."""
    rows = pd.read_csv(FOLDER / "donations.csv")
    columns = {"x": "frequency", "t_x": "recency", "n": "periods", "weight": "weights"}
    return {name: rows[column].to_numpy() for name, column in columns.items()}
