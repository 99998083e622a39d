"""Phone numbers normalised to E.164, judged usable or not and why, never repaired.

What phonenumbers says is what holds, but asking it for each number takes a minute a million. Most are plain mobiles of the
source's country, which the pattern of the library's own metadata settles inside the engine; so do texts that are no single
number, and mainland numbers that no pattern of the metadata fits. The distinct rest, a few in a hundred, is asked one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import phonenumbers
import pyarrow as pa
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat, PhoneNumberType

from crm_core.ingest.reader import LAYOUT

USABLE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
MASKED, SPREADSHEET = "masked", "turned into a number by a spreadsheet"
SEVERAL, UNUSED = "more than one number", "no number that is in use"
MARKS = "/,;、，；|"
NEVER = r"\b\B"
TYPES = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan",
    "voicemail",
)  # fmt: skip


def judged_phones(engine: Any, country: str, rows: ir.Table, staged: Path) -> ir.Table:
    """`rows` with `value` (text) made E.164 where it can take a message, `valid`, and `problem` where it cannot.

    What the patterns say is written to the Parquet file `staged`, which the result reads.
    """
    code, mobile, unused = _patterns(country)
    plain = rows.value.re_search(f"^(?:{mobile})$")
    # most cells are bare numbers: taking form off them, or looking what is wrong with them, would cost more than all else
    split = rows.mutate(_digits=plain.ifelse(ibis.null("string"), without_form(rows.value)))
    digits = split._digits
    local = digits.re_replace(rf"^(?:\+|00)?{code}", "") if country == "CN" else digits
    dressed = local.re_search(f"^(?:{mobile})$").ifelse(ibis.literal(f"+{code}") + local, ibis.null("string"))
    split = split.mutate(_good=split._digits.isnull().ifelse(ibis.literal(f"+{code}") + split.value, dressed))
    trouble = split._good.isnull().ifelse(_evident(split._digits, unused), ibis.null("string"))
    engine.to_parquet(split.mutate(_trouble=trouble), staged, **LAYOUT)
    split = engine.read_parquet(staged)
    odd = split.filter(split._good.isnull(), split._trouble.isnull(), split._digits.notnull()).select("_digits").distinct()
    asked = _ask_library(engine, country, odd)
    joined = split.left_join(asked, split._digits == asked.odd)
    number = ibis.coalesce(joined._good, joined.number)
    problem = ibis.coalesce(joined._trouble, joined.trouble)
    kept = [name for name in rows.columns if name not in ("value", "valid", "problem")]
    return joined.select(
        *kept,
        value=ibis.coalesce(number, joined.value),
        valid=number.notnull(),
        problem=number.isnull().ifelse(problem, ibis.null("string")),
    )


def without_form(text: Any) -> Any:
    """A number without an apostrophe before it, which keeps spreadsheets from making it 1.38E+10, and without blanks,
    dashes and brackets.
    """
    return text.re_replace(r"^'", "").re_replace(r"[\s\-()（）]", "")


def judge_phone(text: str, country: str) -> tuple[str | None, str | None]:
    """(E.164, None) for a number that can take a message, (None, why not) for any other text."""
    if "*" in text or "x" in text.lower():
        return None, MASKED
    if "." in text or "e+" in text.lower():
        return None, SPREADSHEET
    if any(mark in text for mark in MARKS):
        return None, SEVERAL
    try:
        number = phonenumbers.parse(text, country)
    except NumberParseException:
        return None, "no phone number"
    if number.extension:
        return None, "a privacy number with an extension"
    if not phonenumbers.is_valid_number(number):
        return None, UNUSED
    if phonenumbers.number_type(number) not in USABLE:
        return None, "no mobile number"
    return phonenumbers.format_number(number, PhoneNumberFormat.E164), None


def _evident(digits: Any, unused: str) -> Any:
    """Why a text is no usable number, where that needs no library; in the order in which `judge_phone` asks."""
    return ibis.cases(
        (digits.re_search("[*xX]"), MASKED),
        (digits.re_search(r"\.|[eE]\+"), SPREADSHEET),
        (digits.re_search(f"[{MARKS}]"), SEVERAL),
        (digits.re_search(r"^1[3-9]\d{9}$") & ~digits.re_search(f"^(?:{unused})"), UNUSED),
        else_=ibis.null("string"),
    )


def _patterns(country: str) -> tuple[int, str, str]:
    """Country code, the pattern of its mobiles, and one that fits the beginning of every number which the library has to
    judge: it knows the number, or takes a carrier code off it.
    """
    metadata = PhoneMetadata.metadata_for_region(country, None)
    if metadata is None or metadata.mobile is None or not metadata.mobile.national_number_pattern:
        return phonenumbers.country_code_for_region(country), NEVER, ""  # the library is asked for each
    mobile = metadata.mobile.national_number_pattern
    if country != "CN":
        return metadata.country_code, mobile, ""
    known = [getattr(metadata, name) for name in TYPES]
    whole = [f"(?:{kind.national_number_pattern})$" for kind in known if kind and kind.national_number_pattern]
    carrier = metadata.national_prefix_for_parsing
    return metadata.country_code, mobile, "|".join([*whole, *([f"(?:{carrier})"] if carrier else [])])


def _ask_library(engine: Any, country: str, odd: ir.Table) -> ir.Table:
    schema = pa.schema([("odd", pa.string()), ("number", pa.string()), ("trouble", pa.string())])
    batches = []
    for batch in engine.to_pyarrow_batches(odd, chunk_size=50_000):
        texts = batch["_digits"].to_pylist()
        answers = [judge_phone(text, country) for text in texts]
        batches.append(pa.record_batch([texts, [number for number, _ in answers], [why for _, why in answers]], schema))
    return ibis.memtable(pa.Table.from_batches(batches, schema=schema))
