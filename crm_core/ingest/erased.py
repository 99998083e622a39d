"""Rows of people who were erased: refused as `erased`, and nothing of what they say is kept.

The vault keeps only keyed hashes of an erased account and its contacts. A row is refused when the account that it is of
(`member_id` of a table, or the account of its contacts) is among them. A row that is refused for another reason, or a
line that could not be read, is searched cell by cell for an erased phone or e-mail, and for an erased account: in the
columns of accounts, or in every cell where columns cannot be told. It becomes `erased` too.
An erased account that a row of somebody else only mentions (a referrer) stays a pseudonym in the lake, and its id does
not go to the vault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ibis
import ibis.expr.types as ir
from sqlalchemy import select

from crm_core.config import Config
from crm_core.errors import InputError
from crm_core.ingest.casts import MANY_FAULTS, looks_shifted
from crm_core.ingest.contacts import numbers_of
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.expressions import accounts_of, owners_of
from crm_core.ingest.headings import match
from crm_core.ingest.json_lines import unescaped, values
from crm_core.ingest.rows import ERASED, Context, Staged
from crm_core.store import Ledger, Vault
from crm_core.store.ledger import Load
from crm_core.store.vault import ID_LENGTH

DIALLED = r"^[+\d][\d\s\-()（）]{6,24}$"
"""What may be a phone number once what surrounds it is off; anything else is not asked about."""
APART = r"""[,;\t|"\r\n]+"""
AROUND = r"""^[\s:{}\[\]']+|[\s:{}\[\]']+$"""


def refuse_erased(context: Context, vault: Vault, staged: Staged) -> Staged:
    """The same batch with every row of an erased account refused, whatever else is wrong with it."""
    if vault.erased("account") is None:
        return staged
    parts = []
    for field, namespace in sorted(owners_of(context.settings, staged.feed)):
        ids = staged.typed.select("_row", account_id=staged.typed[field].cast("string"))
        gone = erased_accounts(vault, ids.select("account_id").distinct(), namespace)
        hit = ids.semi_join(gone, "account_id")
        parts.append(hit.select("_row", field=ibis.literal(field), reason=ibis.literal(ERASED)))
    if not parts:
        return staged
    found = parts[0] if len(parts) == 1 else ibis.union(*parts)
    path = staged.work / f"erased_{staged.batch.name}.parquet"
    with engine_errors(staged.batch.label):
        context.engine.to_parquet(found, path)
    rows = context.engine.read_parquet(path)
    others = tuple(table.anti_join(rows, "_row") for table in staged.rejected)
    repeated = None if staged.repeated is None else staged.repeated.anti_join(rows, "_row")
    return replace(staged, rejected=(others[0], rows, *others[1:]), repeated=repeated)


def erased_accounts(vault: Vault, ids: ir.Table, namespace: str) -> ir.Table:
    """Those of `ids` (a column account_id) that were erased; none where nobody was."""
    listed = vault.erased("account")
    known = ids.filter(ids.account_id.notnull())
    if listed is None:
        return known.filter(ibis.literal(False))
    keyed = vault.keyed(known, {"_hash": (namespace, "account_id")}, ID_LENGTH)
    return keyed.semi_join(listed, keyed._hash == listed.value_hmac).drop("_hash")


def hide_erased(context: Context, vault: Vault, staged: Staged, refused: ir.Table) -> ir.Table:
    """`refused` (_row, field, reason, row, cells, text) without anything that names an erased person; each such row says
    `erased` and no more.
    """
    if vault.erased("account") is None:
        return refused
    words: Any = refused.select("_row", word=refused.cells.unnest()).union(
        refused.select("_row", word=unescaped(refused.text).re_split(APART).unnest())
    )
    words = words.mutate(word=words.word.re_replace(AROUND, "")).filter(lambda t: t.word.length() > 0)
    path = staged.work / f"words_{staged.batch.name}.parquet"
    context.engine.to_parquet(words, path)
    words = context.engine.read_parquet(path)
    hits = [_hits(vault, words.mutate(word=words.word.lower()), "email", "email", 64)]
    dialled = words.filter(words.word.re_search(DIALLED))
    numbers = numbers_of(context, dialled.select("word").distinct(), path.with_suffix(".staged"))
    phones = dialled.join(numbers, "word").select("_row", word="number")
    hits.append(_hits(vault, phones, "phone", "phone", 64))
    accounts = sorted(accounts_of(context.settings, staged.feed))
    for field, namespace in accounts:
        ids = staged.typed.select("_row", word=staged.typed[field].cast("string")).semi_join(refused, "_row")
        hits.append(_hits(vault, ids, "account", namespace, ID_LENGTH))
    astray = words.semi_join(refused.filter(refused.row.isnull() | looks_shifted(refused.reason)), "_row")
    for namespace in sorted({space for _, space in accounts}):
        hits.append(_hits(vault, astray, "account", namespace, ID_LENGTH))
    found = ibis.union(*hits).distinct()
    kept = staged.work / f"named_{staged.batch.name}.parquet"
    context.engine.to_parquet(found, kept)
    named = context.engine.read_parquet(kept)
    marked = refused.left_join(named.rename(_named="_row"), refused._row == named._row)
    gone = marked._named.notnull() | (marked.reason == ERASED)
    return marked.mutate(
        reason=gone.ifelse(ERASED, marked.reason),
        **{name: gone.ifelse(ibis.null(marked[name].type()), marked[name]) for name in ("row", "cells", "text")},
    ).drop("_named")


def account_cells(config: Config, ledger: Ledger) -> Callable[[Mapping[str, Any]], list[tuple[str, str]] | None]:
    """A function that gives (namespace, cell) of each account column of a refused row in the vault; None where columns cannot
    be told: of a malformed line, of a row that looks shifted, and where settings know its feed no more.
    """
    with ledger.session() as session:
        sources = {row[0]: row[1] for row in session.execute(select(Load.load_id, Load.source))}

    def found(row: Mapping[str, Any]) -> list[tuple[str, str]] | None:
        try:
            settings = config.source(sources.get(row["load_id"], ""))
        except InputError:
            return None
        feed = settings.feeds.get(row["feed"])
        line = values(row["text"] or "")
        headings, cells = (list(line), list(line.values())) if line else (row["headings"], row["cells"])
        if feed is None or cells is None or row["reason"].count("; ") + 1 >= MANY_FAULTS:
            return None
        places = match(feed, headings).positions
        return [(space, cells[places[field]]) for field, space in accounts_of(settings, feed) if field in places]

    return found


def _hits(vault: Vault, words: ir.Table, kind: str, prefix: str, length: int) -> ir.Table:
    listed = vault.erased(kind)
    if listed is None:
        return words.select("_row").filter(ibis.literal(False))
    keyed = vault.keyed(words.select("word").distinct(), {"_hash": (prefix, "word")}, length)
    gone = keyed.semi_join(listed, keyed._hash == listed.value_hmac)
    return words.semi_join(gone, "word").select("_row")
