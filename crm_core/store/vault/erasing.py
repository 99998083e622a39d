"""One member out of the vault: what is known of the person, the hashes that stay, and files written anew without them.

All files are searched, those of loads that were taken back too. Nothing here is a transaction: the caller removes what
needs the person's clear values first and the vault's own rows last, so that a run that was killed can be run again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crm_core.store.vault.files import publish
from crm_core.store.vault.vault import ERASED, ID_LENGTH, Vault

SEPARATOR = "\x1f"
EDGE = r"""[\x1f\s,;|"'\\/:{}\[\]]"""
"""What may stand beside a value in a cell or in a line that could not be cut into cells."""
APART, AROUND = r"""[\x1f,;\t|"\r\n]""", r"""[\s:{}\[\]']*"""
"""What stands between cells, and what may surround a value within one."""
REACHABLE = ("phone", "email")
SHARED_BY_MANY = ("given_name", "family_name", "birth_date", "city", "postcode")
"""Leaves the vault with the rest, but is not looked for elsewhere: it would take the lines of others with it."""
SHORT = 5  # shorter values are looked for as whole words, or half of all rows would hold them


Place = dict[str, Any]
"""Of a refused row: load_id, file, row_number."""
AccountCells = Callable[[dict[str, Any]], list[tuple[str, str]] | None]


@dataclass(frozen=True)
class Person:
    """What the vault knows of a member and of hardly another: (namespace, account id) and (kind, value, valid)."""

    member_id: str
    accounts: tuple[tuple[str, str], ...]
    contacts: tuple[tuple[str, str, bool], ...]

    @property
    def spellings(self) -> list[str]:
        """Every text that the person may stand under in a file that leaves: accounts, contacts, phones in each form."""
        found = [self.member_id, *(account for _, account in self.accounts)]
        for kind, value, _ in self.contacts:
            found += [value, *(_forms(value) if kind == "phone" else ())]
        return list(dict.fromkeys(found))


def person(vault: Vault, member_id: str, account: tuple[str, str] | None = None) -> Person:
    """The member's accounts and contacts in any load; `account` adds one that the vault does not know (any more)."""
    accounts = {(row["namespace"], row["account_id"]) for row in _rows_of(vault, "accounts", member_id)}
    rows = [row for row in _rows_of(vault, "contacts", member_id) if row["kind"] not in SHARED_BY_MANY]
    contacts = {(row["kind"], row["value"], row["valid"]) for row in rows}
    return Person(member_id, tuple(sorted(accounts | ({account} if account else set()))), tuple(sorted(contacts)))


def others_with(vault: Vault, who: Person) -> int:
    """How many other members state one of the person's phones or e-mails; it stays theirs."""
    values = [value for kind, value, valid in who.contacts if kind in REACHABLE and valid]
    found: set[str] = set()
    for path in _files(vault, "contacts"):
        table = pq.read_table(path, columns=["member_id", "value"], filters=[("value", "in", values)]) if values else None
        found.update(table["member_id"].to_pylist() if table is not None else [])
    return len(found - {who.member_id})


def remember(vault: Vault, who: Person, source: str, dry: bool = False) -> dict[str, int]:
    """Puts the hashes on the list that stay for ever; returns how many of each kind were new (`dry`: would be)."""
    listed = vault.suppressions().select("kind", "value_hmac").to_pyarrow().to_pylist()
    known = {(row["kind"], row["value_hmac"]) for row in listed}
    hashes = {("member", vault.hmac_one("member", who.member_id))}
    hashes |= {("account", vault.hmac_one(*account)[:ID_LENGTH]) for account in who.accounts}
    if re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", who.member_id):
        hashes.add(("account", who.member_id))  # the id is that hash
    reached = {(kind, vault.hmac_one(kind, value)) for kind, value, valid in who.contacts if kind in REACHABLE and valid}
    fresh: dict[str, int] = {}
    for kind, value in sorted(hashes | reached):
        kinds = [f"{ERASED}{kind}", *([kind] if kind in REACHABLE else [])]
        rows = [{"kind": each, "value_hmac": value, "reason": "erased", "source": source} for each in kinds]
        fresh[kind] = fresh.get(kind, 0) + any((each, value) not in known for each in kinds)
        if not dry:
            vault.suppress(rows)
    return {kind: count for kind, count in fresh.items() if count}


def forget_refused(vault: Vault, who: Person, account_cells: AccountCells, dry: bool = False) -> list[Place]:
    """Takes every unmasked refused row that names the person out; returns where they stood (`dry`: stand).

    An account counts in the cells that `account_cells` gives, and in any cell of a row of which it gives None.
    """
    contacts = _contacts(who)
    accounts = [(space, _cell(account)) for space, account in [*who.accounts, ("", who.member_id)] if account]
    pattern = "|".join([*contacts, *(cell for _, cell in accounts)])
    places: list[Place] = []

    def names(row: dict[str, Any], text: str) -> bool:
        cells = account_cells(row)
        if cells is None or any(re.search(contact, text) for contact in contacts):
            return True
        stated = [(space, f"{SEPARATOR}{cell.lower()}{SEPARATOR}") for space, cell in cells]
        return any(re.search(account, cell) for own, account in accounts for space, cell in stated if own in ("", space))

    def stays(batch: pa.RecordBatch) -> Any:
        cells = pc.binary_join(pc.fill_null(batch["cells"], []), SEPARATOR)
        lines = pa.array([_unescaped(line.as_py() or "") for line in batch["text"]], pa.string())
        text = pc.binary_join_element_wise(cells, pc.fill_null(batch["text"], ""), lines, SEPARATOR)
        # a phone may be written with blanks, dashes or brackets
        folded = pc.replace_substring_regex(text, r"[\s\-()（）]", "")
        whole = pc.utf8_lower(pc.binary_join_element_wise("\x1f", text, "\x1f", folded, "\x1f", ""))
        maybe = pc.match_substring_regex(whole, pattern)
        rows = zip(batch.filter(maybe).to_pylist(), whole.filter(maybe).to_pylist(), strict=True)
        named = pc.replace_with_mask(maybe, maybe, pa.array([names(*row) for row in rows], pa.bool_()))
        places.extend(batch.select(["load_id", "file", "row_number"]).filter(named).to_pylist())
        return pc.invert(named)

    for path in _files(vault, "refused"):
        _rewrite(path, stays, dry)
    return places


def forget_member(vault: Vault, member_id: str, dry: bool = False) -> dict[str, int]:
    """Takes the member's contacts out of every file, then the accounts; returns the rows gone of each (`dry`: to go)."""

    def stays(batch: pa.RecordBatch) -> Any:
        return pc.not_equal(batch["member_id"], member_id)

    return {name: sum(_rewrite(path, stays, dry) for path in _files(vault, name)) for name in ("contacts", "accounts")}


def _files(vault: Vault, name: str) -> list[Path]:
    return sorted((vault.folder / name).glob("*.parquet"))


def _rows_of(vault: Vault, name: str, member_id: str) -> Iterator[dict[str, Any]]:
    for path in _files(vault, name):
        yield from pq.read_table(path, filters=[("member_id", "=", member_id)]).to_pylist()


def _rewrite(path: Path, stays: Callable[[pa.RecordBatch], Any], dry: bool) -> int:
    """Writes `path` anew with the rows that stay, where there are others; returns how many others there are."""
    source, partial, gone = pq.ParquetFile(path), path.with_suffix(".partial"), 0
    if dry:
        with source:
            return sum(pc.sum(pc.invert(stays(batch))).as_py() or 0 for batch in source.iter_batches(100_000))
    with source, pq.ParquetWriter(partial, source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches(100_000):
            kept = batch.filter(stays(batch))
            gone += batch.num_rows - kept.num_rows
            writer.write_batch(kept)
    if gone:
        publish(partial, path)
    else:
        partial.unlink()
    return gone


def _contacts(who: Person) -> list[str]:
    """Patterns (RE2) over lower-case text: contacts anywhere, names and short values as whole words."""
    parts: list[str] = []
    for kind, value, valid in (contact for contact in who.contacts if contact[1]):
        parts += [_quoted(form) for form in _forms(value)] if kind == "phone" and valid else []
        parts.append(_quoted(value) if len(value) >= SHORT and kind != "name" else f"{EDGE}{_quoted(value)}{EDGE}")
    return list(dict.fromkeys(parts))


def _cell(value: str) -> str:
    """A pattern (RE2) of a value that fills a cell."""
    return f"{APART}{AROUND}{_quoted(value)}{AROUND}{APART}"


def _unescaped(line: str) -> str:
    """A line of JSON, whole or cut off, with its escapes read."""
    read = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), line)
    whole = read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub(r"\\+", "", re.sub(r"\\+[bfnrt]", " ", whole))


def _quoted(value: str) -> str:
    return "".join(re.escape(letter) if letter.isascii() and not letter.isspace() else letter for letter in value.lower())


def _forms(value: str) -> list[str]:
    """A phone as platforms and people write it: +8613…, 8613…, 13…"""
    try:
        national = phonenumbers.national_significant_number(phonenumbers.parse(value, None))
    except phonenumbers.NumberParseException:
        return [value]
    return [value, value.removeprefix("+"), national]
