"""Lists of members made elsewhere, as a tag of kind 'list': read from a file, checked, kept by date.

The file is CSV (UTF-8) with a heading: `member_id` or `account` (SOURCE:ID, or with --source the bare ids), and
`value` if the tag has several. Who is in no list of members, or written in a way that nobody can read, is counted and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_core.config.tags import TagSettings
from crm_core.errors import InputError, unknown
from crm_core.store import Lake, Vault
from crm_core.store.vault import ID_LENGTH
from crm_core.tags.compute import YES
from crm_core.tags.inputs import WHERE

NAME = "tag_lists"
MOST_BYTES = 200_000_000


@dataclass(frozen=True)
class ListUpload:
    """What became of the rows of a file: read = accepted + the sum of `rejected` by reason; `members`: in the list now."""

    tag: str
    as_of: date
    read: int
    accepted: int
    rejected: Mapping[str, int]
    members: int


def lists_of(stored: ir.Table, as_of: date) -> ir.Table:
    """tag, member_id, value, listed_on: of each tag the newest list up to `as_of`, from the table `tag_lists`."""
    known = stored.filter(stored.as_of <= ibis.literal(as_of))
    newest = known.group_by("tag").agg(as_of=known.as_of.max())
    current = known.semi_join(newest, ["tag", "as_of"])
    return current.select("tag", "member_id", "value", listed_on="as_of")


def upload(
    path: Path,
    name: str,
    settings: TagSettings,
    lake: Lake,
    vault: Vault,
    members: ir.Table,
    accounts: Mapping[str, tuple[str, bool]],
    *,
    as_of: date,
    merge: bool = False,
    actor: str = "crm",
) -> ListUpload:
    """Stores the members of a file as tag `name` from `as_of` on; `merge` adds them to the list there was.

    `members`: member_id of everybody known. `accounts`: source → (its namespace of account ids, whether those are plain member
    ids). InputError when the file as a whole cannot be read, holds no known member, or the tag is none of kind list.
    """
    if name not in settings.tags:
        raise unknown("tag", name, settings.tags, WHERE)
    if settings.tags[name].kind != "list":
        raise InputError(f"{WHERE}, tag '{name}': it is of kind {settings.tags[name].kind}; only a tag of kind list takes a file")
    rows, rejected = _read(path, accounts)
    listed = ibis.memtable(rows) if len(rows) else ibis.memtable([], schema=dict.fromkeys(rows.columns, "string"))
    for source, (namespace, plain) in accounts.items():
        if not plain and (rows["source"] == source).any():
            mine = vault.keyed(listed.filter(listed.source == source), {"_hmac": (namespace, "id")}, length=ID_LENGTH)
            listed = listed.filter(listed.source != source).union(mine.mutate(id=mine._hmac).drop("_hmac"))
    with lake.write(f"list of tag {name}", actor) as writer:
        found = writer.stage(listed.semi_join(members, listed.id == members.member_id))
        accepted = int(found.id.nunique().to_pyarrow().as_py())
        if not accepted:
            raise InputError(f"{path}: none of its {len(rows):,} rows is a known member; nothing was stored")
        one = found.group_by("id").agg(value=found.value.max())
        new = one.select(member_id="id", tag=ibis.literal(name), value="value")
        stored = writer.table(NAME)
        if merge:
            before = lists_of(stored.filter(stored.tag == name), as_of).select("member_id", "tag", "value")
            new = new.union(before.anti_join(new, "member_id"))
        same_day = stored.filter(stored.as_of == ibis.literal(as_of), stored.tag != name)
        new = writer.stage(new.union(same_day.select("member_id", "tag", "value")))
        rejected |= {"not a known member": len(rows) - int(found.count().to_pyarrow().as_py())}
        rejected |= {"named twice": int(found.count().to_pyarrow().as_py()) - accepted}
        writer.replace_date(NAME, as_of, new)
        size = int(new.filter(new.tag == name).count().to_pyarrow().as_py())
        kept = {reason: count for reason, count in rejected.items() if count}
        read = accepted + sum(kept.values())
        writer.audit("tag list", name, {"read": read, "accepted": accepted, "rejected": kept, "merge": merge})
    return ListUpload(name, as_of, read, accepted, kept, size)


def _read(path: Path, accounts: Mapping[str, tuple[str, bool]]) -> tuple[pd.DataFrame, dict[str, int]]:
    """(id, source ('' for a member id), value) of the rows that can be read, and how many cannot, by reason."""
    frame = _frame(path)
    heading = next((each for each in ("member_id", "account") if each in frame.columns), None)
    if heading is None:
        found = ", ".join(map(str, frame.columns[:8]))
        raise InputError(f"{path}: no column member_id or account; found: {found}")
    ids = frame[heading].fillna("").str.strip()
    rejected = {"empty": int((ids == "").sum())}
    frame = frame[ids != ""].assign(id=ids[ids != ""], source="")
    if heading == "account":
        parts = frame["id"].str.split(":", n=1, expand=True).reindex(columns=[0, 1])
        frame = frame.assign(source=parts[0], id=parts[1].fillna("").str.strip())
        known = frame["source"].isin(list(accounts)) & (frame["id"] != "")
        rejected["not SOURCE:ID of a known source"] = int((~known).sum())
        frame = frame[known]
    value = frame["value"].fillna("").str.strip() if "value" in frame.columns else pd.Series("", frame.index)
    return frame.assign(value=value.where(value != "", YES))[["id", "source", "value"]].astype("string"), rejected


def _frame(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: {path.stat().st_size:,} bytes; a list may have {MOST_BYTES:,}")
    try:
        frame = pd.read_csv(path, dtype="string", encoding="utf-8-sig", skipinitialspace=True, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as a list: {type(error).__name__}; give CSV in UTF-8") from None
    return frame.rename(columns=lambda name: str(name).strip().lower())
