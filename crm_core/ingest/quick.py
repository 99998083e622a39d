"""Cells in the form that most cells have, read without the closer look that the others need.

An export mostly says 2026-10-31 08:26:00, 1234.50, 12 or a known word, with no blank around it. Such a cell is told by
its value: written out again it is the cell. Only the rest is trimmed, compared with the words for nothing and tried in
every form that `casts` knows. What comes out is the same either way.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import reduce
from operator import or_
from typing import Any

import ibis

from crm_core.config.sources import FieldSettings
from crm_core.ingest.casts import BLANKS

_DAY = r"(?:1[89]|20|21)\d\d-\d\d-\d\d"
FORMS = {
    "time": (rf"{_DAY} (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d", "timestamp(6)"),
    "date": (_DAY, "date"),
    "money": (r"-?\d{1,15}(?:\.\d{1,2})?", "decimal(18, 2)"),
    "price": (r"-?\d{1,11}(?:\.\d{1,6})?", "decimal(18, 6)"),
    "integer": (r"-?\d{1,18}", "int64"),
}
LIMITS: dict[str, tuple[Any, Any]] = {
    "time": (datetime(1800, 1, 1), datetime(2199, 12, 31, 23, 59, 59)),
    "date": (date(1800, 1, 1), date(2199, 12, 31)),
    "integer": (-(10**18) + 1, 10**18 - 1),
}
"""A number or time is written out in one way only, so a cell that is that text has the form, within these limits."""
IDEOGRAPHS = ("\u4e00", "\u9fff")
MANY_WORDS = 40


def tried(raw: Any, field: FieldSettings, nulls: tuple[str, ...], fen: bool) -> Any:
    """The cell `raw` (as it stands in the file) as the engine casts it, for `read` to judge; None where that is no use.

    A column of its own, because `read` asks for it twice.
    """
    pattern, kind = FORMS.get(field.type, ("", ""))
    odd = field.strip or field.formats or field.epoch or field.values or (fen and field.type in ("money", "price"))
    if odd or not pattern or any(re.fullmatch(pattern, word) for word in nulls):
        return None
    return raw.try_cast(kind)


def read(raw: Any, cast: Any, field: FieldSettings, nulls: tuple[str, ...], slow: Any) -> Any:
    """The value of the cell `raw`: at once where its form is the usual one, else `slow`. `cast` is what `tried` says.

    For a field of type time the value is its wall-clock time.
    """
    if cast is not None:
        same = cast.cast("string") == raw
        usual = same & cast.between(*LIMITS[field.type]) if field.type in LIMITS else same
        if field.type in ("money", "price"):  # 12 and 12.5 are usual too, but written out as 12.00 and 12.50
            fits = raw.re_search(f"^{FORMS[field.type][0]}$")
            usual = usual | fits if field.type == "money" else fits
        return ibis.cases((raw.isnull(), cast), (usual, cast), else_=slow)
    if field.strip:
        return slow
    if field.values:
        return _word(raw, field, nulls, slow)
    return _text(raw, nulls, slow) if field.type == "text" else slow


def _word(raw: Any, field: FieldSettings, nulls: tuple[str, ...], slow: Any) -> Any:
    words = [(word, ours) for word, ours in field.values.items() if word and ours is not None and word not in nulls]
    usual = [(raw == word, ibis.literal(ours)) for word, ours in words if word == word.strip(BLANKS)]
    return ibis.cases(*usual, else_=slow) if 0 < len(usual) <= MANY_WORDS else slow


def _text(raw: Any, nulls: tuple[str, ...], slow: Any) -> Any:
    begins = raw.between("(", "=") | raw.between(">", "~") | raw.between(*IDEOGRAPHS)  # not ' nor =, see casts.cell
    usual = begins & ~reduce(or_, [raw.endswith(blank) for blank in BLANKS])
    return ibis.cases((raw.isnull(), ibis.null("string")), (usual & ~raw.isin(nulls), raw), else_=slow)
