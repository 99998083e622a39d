"""Text to typed values inside the engine, strictly: what cannot be read becomes null and, beside it, a
sentence that says so.

Nothing is repaired: `1.38E+10` is no number of money, 24:00 no time, 12.345 no amount of two decimals. Times
without an offset are local to the source's zone; DuckDB's own cast from text to TIMESTAMP drops an offset
silently, so texts that have one go through TIMESTAMP WITH TIME ZONE.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import reduce
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from crm_core.config.sources import FieldSettings
from crm_core.store import utc_time
from crm_core.store.clock import last_offset

BLANKS = " \t\r\n\f\u00a0\u3000\ufeff\u200b"
# the engine's trim with a list of characters takes two and a half times as long
_AROUND = r"^[\s\x{a0}\x{3000}\x{feff}\x{200b}]+|[\s\x{a0}\x{3000}\x{feff}\x{200b}]+$"
TYPES = {
    "text": "string",
    "email": "string",
    "phone": "string",
    "integer": "int64",
    "number": "float64",
    "money": "decimal(18, 2)",
    "price": "decimal(18, 6)",
    "time": "timestamp(6)",
    "date": "date",
    "flag": "boolean",
}
WANTED = {
    "integer": "a whole number, such as 12",
    "number": "a number, such as 12.5",
    "money": "an amount, such as 1,234.50",
    "price": "a price, such as 1.25",
    "time": "a time, such as 2026-10-31 08:26:00",
    "epoch_s": "whole seconds since 1970, such as 1511544070",
    "epoch_ms": "whole milliseconds since 1970, such as 1511544070000",
    "date": "a date, such as 2026-10-31",
    "flag": "a yes or no",
}
TEXTS = ("text", "email", "phone")
PHONE_FORMS = ((r"[\s\-–－()（）.\xA0]", ""), (r"^(?:\+|00)?86(1[3-9]\d{9})$", r"\1"))
"""What is taken off a phone so that it has one spelling: marks, and the calling code of mainland mobiles."""
YES, NO = ("1", "true", "yes", "y", "t", "是", "有", "√"), ("0", "false", "no", "n", "f", "否", "无", "×")
_DAY = r"(?:1[89]|20|21)\d\d(?:-\d{1,2}-|/\d{1,2}/)\d{1,2}"
_AS_TEXT = r"""^(?:="([^"]*)"|'(\d[^']*))$"""
_CUT_SHORT = r"^\d(?:\.\d+)?(?:E\+\d\d|e\+(?:1[5-9]|[2-9]\d))$"
"""A spreadsheet (E) shows the first digits of a number; programs (e) write all that they hold, which is 15."""
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"
_OFFSET = r"(?:Z|[+-]\d{2}(?::?\d{2})?)"
_AMOUNT = r"^[-+]?[¥￥$£€]?[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.DECIMALS)?元?$"
_MARK = r"[-–－. \x{a0}]?"  # between the digits of a phone
_PHONES = (
    (rf"(^|\D)((?:(?:\+|00)?86{_MARK})?1[3-9]\d){_MARK}\d{{4}}{_MARK}(\d{{4}})(\D|$)", r"\1\2****\3\4"),
    (rf"(^|\D)(0\d{{2,3}})[)）]?{_MARK}\d{{3,4}}{_MARK}(\d{{4}})(\D|$)", r"\1\2****\3\4"),
    (r"(^|\D)(\d{3})\)?[-–. \x{a0}]{1,2}\d{3}[-–. \x{a0}](\d{4})(\D|$)", r"\1\2****\3\4"),
)
_VEILS = (
    *_PHONES, *_PHONES,  # twice, because the mark between two numbers is taken with the first
    (r"(\+\d{1,3})(?:[-–. ()\x{a0}]{0,2}\d){5,12}", r"\1****"),
    (r"[０-９]{7,}|\d\.\d{6,}[eE]\+?1\d", "***"),
    (r"[^\s@,;]+@[^\s@,;]+", "***@***"),
)  # fmt: skip
"""What looks like a mobile, a landline, a number with a calling code, in wide digits or after a spreadsheet had it, or an
e-mail."""
_MAY_REACH = r"(?:[\d０-９][^\d０-９\pL]{0,2}){7}|@"
MANY_FAULTS = 3
"""So many cells of a row are wrong only where its columns are, and a name may stand under any heading."""
_NUMERALS = r"^[\s\pN\pP\pS元分角年月日号时点秒上下午早晚昨今明天星期周零〇一二两三四五六七八九十百千万亿a-zA-Z]*$"
_TWO_WORDS = r"\pL{2,} +\pL{2,}"


@ibis.udf.scalar.builtin(name="try_strptime", signature=(("string", "array<string>"), "timestamp(6)"))
def _try_strptime(text: Any, formats: Any) -> Any: ...


@ibis.udf.scalar.builtin(name="make_timestamp", signature=(("int64",), "timestamp(6)"))
def _since_1970(microseconds: Any) -> Any: ...


@ibis.udf.scalar.builtin(name="epoch_us", signature=(("timestamp(6)",), "int64"))
def _microseconds(moment: Any) -> Any: ...


@ibis.udf.scalar.builtin(name="timezone", signature=(("string", "timestamp('UTC')"), "timestamp(6)"))
def _wall_clock(zone: Any, instant: Any) -> Any: ...


def cell(value: ir.Value, nulls: tuple[str, ...], strip: str = "") -> Any:
    """A cell as text without what the pattern `strip` fits, blanks around it and what keeps a spreadsheet from taking its
    digits for a number; null where it is one of `nulls`.
    """
    bare: Any = value.re_replace(strip, "") if strip else value
    text: Any = bare.re_replace(_AROUND, "").re_replace(_AS_TEXT, r"\1\2")
    return text.isin(["", *nulls]).ifelse(ibis.null("string"), text)


def local_time(text: Any, field: FieldSettings) -> Any:
    """The wall-clock time that `text` states without an offset; null where it is none.

    A step of its own, because the way to UTC asks for it once for each change of the clocks.
    """
    if field.epoch:
        return ibis.null("timestamp(6)")
    if field.formats:
        return _try_strptime(text, ibis.array([ibis.literal(form) for form in field.formats]))
    return _when(text, rf"^{_DAY}(?:[ T]{_CLOCK})?$", text.try_cast("timestamp(6)"))


def typed(text: Any, field: FieldSettings, zone: ZoneInfo, fen: bool, local: Any = None) -> Any:
    """`text` (trimmed, or null) as the type of `field`; null where it cannot be read or its word is not
    known.

    `local` is what `local_time` gives for it, for fields of type time.
    """
    if field.values:
        words = [(text == word, ibis.literal(meaning, "string")) for word, meaning in field.values.items()]
        return ibis.cases(*words, else_=ibis.null("string"))
    reader: Any = {
        "text": lambda: text,
        "email": lambda: text.lower(),
        "phone": lambda: reduce(lambda each, form: each.re_replace(*form), PHONE_FORMS, text),
        "integer": lambda: _when(text, r"^[-+]?\d{1,18}(?:\.0+)?$", text.re_replace(r"\.0+$", "").try_cast("int64")),
        "number": lambda: _when(text, r"^[-+]?\d+(?:\.\d+)?$", text.try_cast("float64")),
        "money": lambda: _amount(text, 2, fen),
        "price": lambda: _amount(text, 6, fen),
        "time": lambda: _epoch(text, field.epoch) if field.epoch else _time(text, local, field.formats, zone),
        "date": lambda: _date(text, field.formats),
        "flag": lambda: ibis.cases((text.lower().isin(YES), True), (text.lower().isin(NO), False), else_=None),
    }[field.type]
    return reader()


def _when(text: Any, pattern: str, value: Any) -> Any:
    return text.re_search(pattern).ifelse(value, ibis.null(value.type()))


def _amount(text: Any, decimals: int, fen: bool) -> Any:
    kind = dt.Decimal(18, decimals)
    digits = text.re_replace(r"[¥￥$£€,元]", "")
    if not fen:
        pattern = _AMOUNT.replace("DECIMALS", rf"\d{{1,{decimals}}}0*")
        return _when(text, pattern, digits.try_cast(kind))
    # hundredths: whole numbers for money, up to four decimals for a price; dividing is moving the point
    pattern = _AMOUNT.replace("DECIMALS", "0+" if decimals == 2 else r"\d{1,4}0*")
    wide = digits.try_cast(dt.Decimal(36, decimals)) * ibis.literal(Decimal("0.01"))
    return _when(text, pattern, wide.try_cast(kind))


def _epoch(text: Any, unit: str) -> Any:
    # at most the year 2286: more digits are another unit
    digits, microseconds = (10, 1_000_000) if unit == "epoch_s" else (13, 1_000)
    return _when(text, rf"^-?\d{{1,{digits}}}$", _since_1970(text.try_cast("int64") * microseconds))


def _time(text: Any, local: Any, formats: tuple[str, ...], zone: ZoneInfo) -> Any:
    if formats:
        return utc_time(local, zone)
    # the engine reads an offset only after seconds and without a blank
    stamped = text.re_replace(r" ([-+Z])", r"\1").re_replace(r"([ T]\d{1,2}:\d{2})([-+Z])", r"\1:00\2")
    fixed = _when(text, rf"^{_DAY}[ T]{_CLOCK} ?{_OFFSET}$", stamped.try_cast(dt.Timestamp(timezone="UTC")))
    other = ibis.coalesce(utc_time(local, zone), _wall_clock("UTC", fixed)).cast("timestamp(6)")
    start, offset = last_offset(zone)
    # counting microseconds is ten times faster than adding an interval
    lately = _since_1970(_microseconds(local) - offset // timedelta(microseconds=1))
    return (local >= ibis.literal(start)).ifelse(lately, other)


def _date(text: Any, formats: tuple[str, ...]) -> Any:
    if formats:
        return _try_strptime(text, ibis.array([ibis.literal(form) for form in formats])).date()
    day = text.re_replace(r"[ T]00:00(?::00(?:\.0+)?)?$", "")
    return _when(day, rf"^{_DAY}$", day.try_cast("date"))


def suspect(raw: Any, value: Any, field: FieldSettings, now: Any) -> Any:
    """Whether `fault` may have something to say of a cell: true for all that are wrong and few that are not; null is no."""
    wrong = value.isnull() if field.filled else value.isnull() & raw.notnull()
    if field.type in TEXTS and not field.values:
        wrong = wrong | raw.contains("E+") | raw.contains("e+")
    if field.type in ("time", "date") and not field.future:
        wrong = wrong | (value > (now if field.type == "time" else now.date()))
    return wrong


def fault(text: Any, value: Any, field: FieldSettings, now: Any) -> Any:
    """What is wrong with a cell: unreadable, unknown word, empty, later than `now`; null where nothing is."""
    checks: list[tuple[Any, Any]] = []
    if field.values:
        known = ", ".join(list(field.values)[:30])
        checks.append((text.notnull() & ~text.isin(list(field.values)), f"' is not known (known: {known})"))
    elif field.type not in TEXTS:
        checks.append((text.notnull() & value.isnull(), f"' is not {WANTED[field.epoch or field.type]}"))
    if field.type in TEXTS:
        checks.append((text.re_search(_CUT_SHORT), "' is a number that a spreadsheet cut short: export it anew, as text"))
    if field.type in ("time", "date") and not field.future:
        checks.append((value > (now if field.type == "time" else now.date()), "' lies in the future"))
    if field.filled:
        checks.append((text.isnull(), ": is empty"))
    return ibis.cases(*checks, else_=ibis.null("string")) if checks else ibis.null("string")


def sentence(fault: Any, heading: Any, text: Any, hidden: Any, textual: Any, shifted: Any) -> Any:
    """A `fault` with the heading and, where it is about what the cell says, the cell as it may be shown: not at all where the
    row is `shifted`. It holds no '; ', which stands between the sentences of a row."""
    cell = (text.notnull() & fault.startswith("'")).ifelse(
        ibis.literal(": '") + shifted.ifelse("***", shown(text, hidden, textual)), ""
    )
    return (heading + cell + fault).re_replace(r";\s", ", ")


def shown(text: Any, hidden: Any, textual: Any) -> Any:
    """A cell as it may be shown. `hidden`: its field is private; `textual`: anything may stand there. At most 60 characters,
    with what looks like a phone or an e-mail masked; where a number or a time belongs, a name or an address is too.
    """
    strange = ~textual & (~text.re_search(_NUMERALS) | text.re_search(_TWO_WORDS))
    veiled = strange.ifelse(text.re_replace(r"(?s)^(.).*$", r"\1***"), veil(text))
    return hidden.ifelse(masked(text), veiled.re_replace(r"(?s)^(.{60}).+$", r"\1…"))


def veil(text: Any) -> Any:
    """A text with anything in it that looks like a phone or an e-mail masked."""
    veiled = reduce(lambda each, known: each.re_replace(*known), _VEILS, text)
    return text.re_search(_MAY_REACH).ifelse(veiled, text)


def masked(text: Any) -> Any:
    """A private value as it may be shown: 138****8000 for long ones, the first character for short ones."""
    long = text.re_replace(r"(?s)^(.{3}).{4,}(.{4})$", r"\1****\2")
    return (long != text).ifelse(long, text.re_replace(r"(?s)^(.).*$", r"\1***"))


def looks_shifted(reason: Any) -> Any:
    """Whether the reason of a refused row has MANY_FAULTS sentences."""
    return reason.re_search(f"(?s)(; .*){{{MANY_FAULTS - 1}}}")
