"""Numbers as a reader wants them: separators, units, signs, one meaning per unit; counts of few members are
masked.

Units: count, people, money (of a currency), percent (a fraction shown as per cent), points (a difference of
fractions in percentage points), days, ratio, score, number, date, text. Null shows as an en dash.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

Unit = Literal[
    "count", "people", "money", "percent", "points", "days", "hours", "ratio", "score", "number", "date", "text", "masked"
]
NOTHING = "–"
MINUS = "−"
SYMBOLS = {"CNY": "¥", "USD": "$", "GBP": "£", "EUR": "€", "JPY": "¥", "HKD": "HK$", "TWD": "NT$", "SGD": "S$", "BRL": "R$"}
SUFFIX = {
    "zh": {"people": " 人", "days": " 天", "hours": " 小时", "points": " 百分点", "ratio": " 倍"},
    "en": {"people": "", "days": " days", "hours": " hours", "points": " pp", "ratio": "×"},
}


def is_null(value: Any) -> bool:
    """True for None, NaN, NaT and pandas' NA."""
    return value is None or (not isinstance(value, str | list | dict) and bool(pd.isna(value)))


def show(value: Any, unit: str = "number", *, language: str = "zh", currency: str = "CNY", sign: bool = False) -> str:
    """`value` as text in `unit`; with `sign` a plus stands before what is positive. 'percent' and 'points'
    take fractions."""
    if is_null(value):
        return NOTHING
    if unit in ("text", "masked") or isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return {"zh": ("否", "是"), "en": ("no", "yes")}[language][value]
    if unit == "date" or isinstance(value, dt.date | dt.datetime):
        return str(value)[:16] if isinstance(value, dt.datetime) and (value.hour or value.minute) else str(value)[:10]
    number = float(value)
    if not math.isfinite(number):
        return "∞" if number > 0 else NOTHING
    text = _magnitude(abs(number), unit, currency)
    before = MINUS if number < 0 and text.strip("¥$£€0.,%HKNTSR ") else ("+" if sign and number > 0 else "")
    return before + text + SUFFIX[language].get(unit, "")


def _magnitude(number: float, unit: str, currency: str) -> str:
    if unit in ("count", "people"):
        return f"{number:,.0f}"
    if unit == "money":
        return money(number, currency)
    if unit in ("percent", "points"):
        digits = 1 if number >= 0.001 or number == 0 else 2
        return f"{number * 100:,.{digits}f}" + ("%" if unit == "percent" else "")
    if unit in ("days", "hours"):
        return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:,.1f}"
    if unit == "ratio":
        return f"{number:,.2f}"
    if number == int(number) and number < 1e15:
        return f"{number:,.0f}"
    return f"{number:,.4f}" if number < 0.1 else f"{number:,.2f}"


def money(number: float, currency: str) -> str:
    """An amount with its sign: whole units from 1,000 on, two digits below."""
    symbol = SYMBOLS.get(currency, currency + " ")
    return f"{symbol}{number:,.0f}" if number >= 1000 or number == 0 else f"{symbol}{number:,.2f}"


def mask(frame: pd.DataFrame, count: str, min_cell: int, also: Sequence[str] = ()) -> pd.DataFrame:
    """`frame` with counts of members below `min_cell` (zero stays) replaced by '<min_cell', and null in the
    columns `also`.

    Those are the figures that would tell about so few people. Only single cells are masked: totals are not
    hidden as well.
    """
    few = frame[count].notna() & (frame[count] > 0) & (frame[count] < min_cell)
    if not few.any():
        return frame
    masked = frame.copy()
    masked[count] = masked[count].astype(object)
    masked.loc[few, count] = f"<{min_cell}"
    for column in also:
        masked[column] = masked[column].astype(object)
        masked.loc[few, column] = None
    return masked


def share(part: Any, whole: Any) -> float | None:
    """part ÷ whole as a float; None when there is no whole."""
    if is_null(part) or is_null(whole) or not whole:
        return None
    return float(part) / float(whole)


def change(now: Any, before: Any) -> float | None:
    """Relative change; None when there is nothing to compare with."""
    if is_null(now) or is_null(before) or not before:
        return None
    return float(now) / float(before) - 1
