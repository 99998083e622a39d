"""Cells in the form that most cells have, read without the closer look that the others need.

An export mostly says 2026-10-31 08:26:00, 1234.50, 12 or a known word, with no blank around it. One pattern tells such a
cell; only the rest is trimmed, compared with the words for nothing and tried in every form that `casts` knows. What comes
out is the same either way.
"""

from __future__ import annotations

import re
from typing import Any

import ibis

from crm_core.config.sources import FieldSettings

_DAY = r"(?:1[89]|20|21)\d\d-\d\d-\d\d"
FORMS = {
    "time": (rf"{_DAY} (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d", "timestamp(6)"),
    "date": (_DAY, "date"),
    "money": (r"-?\d{1,15}(?:\.\d{1,2})?", "decimal(18, 2)"),
    "price": (r"-?\d{1,11}(?:\.\d{1,6})?", "decimal(18, 6)"),
    "integer": (r"-?\d{1,18}", "int64"),
}
IDEOGRAPHS = ("\u4e00", "\u9fff")
SPACES = ("\u00a0", "\u3000", "\ufeff", "\u200b")
MANY_WORDS = 40


def read(raw: Any, field: FieldSettings, nulls: tuple[str, ...], fen: bool, slow: Any) -> Any:
    """The value of the cell `raw` (as it stands in the file): at once where its form is the usual one, else `slow`.

    For a field of type time the value is its wall-clock time.
    """
    if field.strip or field.formats or (fen and field.type in ("money", "price")):
        return slow
    if field.values:
        return _word(raw, field, nulls, slow)
    if field.type == "text":
        return _text(raw, nulls, slow)
    pattern, kind = FORMS.get(field.type, ("", ""))
    if not pattern or any(re.fullmatch(pattern, word) for word in nulls):
        return slow
    return ibis.cases((raw.isnull(), ibis.null(kind)), (raw.re_search(f"^{pattern}$"), raw.try_cast(kind)), else_=slow)


def _word(raw: Any, field: FieldSettings, nulls: tuple[str, ...], slow: Any) -> Any:
    blanks = " \t\r\n\f\v" + "".join(SPACES)
    words = [(word, ours) for word, ours in field.values.items() if word and ours is not None and word not in nulls]
    usual = [(raw == word, ibis.literal(ours)) for word, ours in words if word == word.strip(blanks)]
    return ibis.cases(*usual, else_=slow) if 0 < len(usual) <= MANY_WORDS else slow


def _text(raw: Any, nulls: tuple[str, ...], slow: Any) -> Any:
    last = raw.right(1)
    begins = raw.between("!", "~") | raw.between(*IDEOGRAPHS)
    ends = last.between("!", "~") | last.between(*IDEOGRAPHS)
    usual = begins & ends & ~raw.isin(nulls) if nulls else begins & ends
    return ibis.cases((raw.isnull(), ibis.null("string")), (usual, raw), else_=slow)
