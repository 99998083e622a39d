"""Contact data on its way to the vault: normalised, judged usable or not and why, never repaired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.expressions import member_column
from crm_core.ingest.mapping import Members, with_ids
from crm_core.ingest.phones import judged_phones
from crm_core.ingest.rows import Context, Staged
from crm_core.schema.expressions import compile_expression
from crm_core.schema.vocabulary import ID_KIND
from crm_core.store import Vault

KEPT = ("phone", "email", "name", "given_name", "family_name", "birth_date", "address", "city", "postcode")
"""Kinds that the vault keeps in clear; of the others only the HMAC goes to `identities`."""
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
                context.engine.to_parquet(_judged(context, once, kind, path.with_suffix(".staged")), path)
            found.append(context.engine.read_parquet(path))
    return found


def _judged(context: Context, rows: ir.Table, kind: str, staged: Path) -> ir.Table:
    if kind == "phone":
        return judged_phones(context.engine, context.country, rows, staged)
    if kind == "email":
        mail: Any = rows.value.lower()
        good = mail.re_search(MAIL) & (mail.length() <= 254)
        return rows.mutate(value=mail, valid=good, problem=good.ifelse(None, "no e-mail address"))
    return rows.mutate(valid=ibis.literal(True), problem=ibis.null("string"))


def numbers_of(context: Context, words: ir.Table, staged: Path) -> ir.Table:
    """`words` (a column word, distinct) that are numbers which can take a message: word, number (E.164)."""
    judged = judged_phones(context.engine, context.country, words.mutate(value=words.word), staged)
    return judged.filter(judged.valid).select("word", number="value")


def identities_of(vault: Vault, contacts: list[ir.Table]) -> ir.Table | None:
    """Rows of the lake's `identities`: the keyed HMAC of each usable id, when it was first seen, and no id
    in clear.
    """
    usable = [
        rows.filter(rows.valid, rows.kind.isin(ID_KIND)).select("member_id", "kind", "value", "first_seen_at") for rows in contacts
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
