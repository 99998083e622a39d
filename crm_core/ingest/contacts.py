"""Contact data on its way to the vault: normalised, judged usable or not and why, never repaired.

Most phones are plain mobiles of the source's country; the pattern of phonenumbers' own metadata settles those
in the engine (20 times faster than asking the library for each). The distinct rest, some per cent, is asked
one by one.
"""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir
import phonenumbers
import pyarrow as pa
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat, PhoneNumberType

from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.expressions import member_column
from crm_core.ingest.mapping import Members, with_ids
from crm_core.ingest.rows import Context, Staged
from crm_core.schema.expressions import compile_expression
from crm_core.schema.vocabulary import ID_KIND
from crm_core.store import Vault

KEPT = ("phone", "email", "name", "given_name", "family_name", "birth_date", "address", "city", "postcode")
"""Kinds that the vault keeps in clear; of the others only the HMAC goes to `identities`."""
USABLE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
MAIL = r"^[^@\s,;]+@[^@\s,;.]+(\.[^@\s,;.]+)+$"


def contacts_of(context: Context, staged: Staged, members: Members) -> list[ir.Table]:
    """The contact rows of a batch, one table for each kind."""
    rows = with_ids(context, staged, members)
    found: list[ir.Table] = []
    for place, contact in enumerate(staged.feed.contacts):
        where = f"{context.where}, feeds.{staged.batch.feed}.contacts.seen_at"
        seen = compile_expression(contact.seen_at, rows, where=where)
        for kind, field in contact.kinds().items():
            if field not in staged.batch.shown:
                continue
            picked = rows.select(
                member_id=rows[member_column(contact.account, context.settings.accounts_of)],
                kind=ibis.literal(kind),
                value=rows[field].cast("string"),
                seen_at=seen.cast("timestamp(6)"),
            )
            filled = picked.filter(picked.member_id.notnull(), picked.value.notnull(), picked.seen_at.notnull())
            once = filled.group_by("member_id", "kind", "value").agg(
                seen_at=filled.seen_at.max(), first_seen_at=filled.seen_at.min()
            )
            path = staged.work / f"contacts_{staged.batch.name}_{place}_{kind}.parquet"
            with engine_errors(staged.batch.label):
                context.engine.to_parquet(_judged(context, once, kind), path)
            found.append(context.engine.read_parquet(path))
    return found


def _judged(context: Context, rows: ir.Table, kind: str) -> ir.Table:
    if kind == "phone":
        return _phones(context, rows)
    if kind == "email":
        mail: Any = rows.value.lower()
        good = mail.re_search(MAIL) & (mail.length() <= 254)
        return rows.mutate(value=mail, valid=good, problem=good.ifelse(None, "no e-mail address"))
    return rows.mutate(valid=ibis.literal(True), problem=ibis.null("string"))


def _phones(context: Context, rows: ir.Table) -> ir.Table:
    code, pattern = _mobiles(context.country)
    # an apostrophe keeps spreadsheets from turning a number into 1.38E+10; blanks and dashes are only form
    digits: Any = rows.value.re_replace(r"^'", "").re_replace(r"[\s\-()（）]", "")
    local = digits.re_replace(rf"^(?:\+|00)?{code}", "") if context.country == "CN" else digits
    plain = local.re_search(f"^(?:{pattern})$")
    split = rows.mutate(_digits=digits, _good=plain.ifelse(ibis.literal(f"+{code}") + local, ibis.null("string")))
    odd = split.filter(split._good.isnull()).select("_digits").distinct()
    checked = _ask_library(context, odd)
    joined = split.left_join(checked, split._digits == checked.odd)
    number = ibis.coalesce(joined._good, joined.number)
    return joined.select(
        "member_id", "kind", "seen_at", "first_seen_at", value=ibis.coalesce(number, joined.value),
        valid=number.notnull(), problem=number.isnull().ifelse(joined.trouble, None),
    )  # fmt: skip


def _mobiles(country: str) -> tuple[int, str]:
    metadata = PhoneMetadata.metadata_for_region(country, None)
    if metadata is None or metadata.mobile is None or not metadata.mobile.national_number_pattern:
        return phonenumbers.country_code_for_region(country), r"\b\B"  # nothing fits: the library is asked for each
    return metadata.country_code, metadata.mobile.national_number_pattern


def _ask_library(context: Context, odd: ir.Table) -> ir.Table:
    schema = pa.schema([("odd", pa.string()), ("number", pa.string()), ("trouble", pa.string())])
    batches = []
    for batch in context.engine.to_pyarrow_batches(odd, chunk_size=50_000):
        texts = batch["_digits"].to_pylist()
        numbers, troubles = (
            zip(*[judge_phone(text, context.country) for text in texts], strict=True) if texts else ((), ())
        )
        batches.append(pa.record_batch([texts, list(numbers), list(troubles)], schema=schema))
    return ibis.memtable(pa.Table.from_batches(batches, schema=schema))


def judge_phone(text: str, country: str) -> tuple[str | None, str | None]:
    """(E.164, None) for a number that can take a message, (None, why not) for any other text."""
    if "*" in text or "x" in text.lower():
        return None, "masked"
    if "." in text or "e+" in text.lower():
        return None, "turned into a number by a spreadsheet"
    if any(mark in text for mark in "/,;、，；|"):
        return None, "more than one number"
    try:
        number = phonenumbers.parse(text, country)
    except NumberParseException:
        return None, "no phone number"
    if number.extension:
        return None, "a privacy number with an extension"
    if not phonenumbers.is_valid_number(number):
        return None, "no number that is in use"
    if phonenumbers.number_type(number) not in USABLE:
        return None, "no mobile number"
    return phonenumbers.format_number(number, PhoneNumberFormat.E164), None


def numbers_of(context: Context, words: ir.Table) -> ir.Table:
    """`words` (a column word, distinct) that are numbers which can take a message: word, number (E.164)."""
    never = ibis.null("timestamp(6)")
    asked = words.select(member_id="word", kind=ibis.literal("phone"), value="word", seen_at=never, first_seen_at=never)
    judged = _judged(context, asked, "phone")
    return judged.filter(judged.valid).select(word="member_id", number="value")


def identities_of(vault: Vault, contacts: list[ir.Table]) -> ir.Table | None:
    """Rows of the lake's `identities`: the keyed HMAC of each usable id, when it was first seen, and no id
    in clear.
    """
    usable = [
        rows.filter(rows.valid, rows.kind.isin(ID_KIND)).select("member_id", "kind", "value", "first_seen_at")
        for rows in contacts
    ]
    if not usable:
        return None
    together = usable[0] if len(usable) == 1 else ibis.union(*usable)
    hashed: ir.Table | None = None
    for kind in ID_KIND:
        part = vault.keyed(together.filter(together.kind == kind), {"id_value_hash": (kind, "value")})
        hashed = part if hashed is None else hashed.union(part)
    assert hashed is not None
    once = hashed.group_by(id_kind=hashed.kind, id_value_hash=hashed.id_value_hash, member_id=hashed.member_id)
    rows = once.agg(first_seen_at=hashed.first_seen_at.min())
    return rows.mutate(_effective_at=rows.first_seen_at)
