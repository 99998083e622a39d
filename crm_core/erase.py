"""`erase`: one member out of everything that holds contact data or account ids, for ever, with a certificate.

Gone: vault (contacts, accounts), unmasked refused rows, payloads of hand-offs, files of the inbox that live loads hold, what
dead processes left in the spill folders. A file of the inbox that no live load holds stays, as nothing else has what it
says of others; the certificate names it where rows of erased people are in it. Kept: keyed hashes of account, phones and
e-mails (rows of the account are refused as `erased` from now on, whatever load brings them, and no message goes to the
contacts, whoever states them), and the lake, where the member is a pseudonym that nothing leads back from once the vault
has forgotten it. A phone that another member states too stays that member's, but is not written to any more. The trail
gets the certificate's numbers.

A run that was killed is run again: hashes come first, so that nobody is written to meanwhile; the vault's own rows, which
say what else must be looked for, go last.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
from sqlalchemy import select

from crm_core.campaigns.erasing import CleanedExport, forget_in_exports
from crm_core.errors import CrmError, InputError
from crm_core.ingest import archive, ingest
from crm_core.ingest.erased import account_cells
from crm_core.ingest.files import Found
from crm_core.ingest.rows import ERASED
from crm_core.schema import TABLES
from crm_core.store import Writer, count, delta, now, processes
from crm_core.store.durable import sync
from crm_core.store.ledger import AuditEntry, Load, LoadFile
from crm_core.store.vault import erasing
from crm_core.store.vault.files import write_once
from crm_core.workspace import Workspace


@dataclass(frozen=True)
class Certificate:
    """What was removed where. `certificate` is a keyed hash: it can be checked for a member, not read back to one.
    `inbox_files_left`: waiting files to load or delete, with what they hold of erased people or why that cannot be told.
    """

    certificate: str
    erased_at: datetime
    actor: str
    removed: dict[str, int]
    suppressed: dict[str, int]
    exports: tuple[CleanedExport, ...]
    also_held_by_members: int
    inbox_files_waiting: int
    suppression_version: str
    audit_chain: str = ""
    first_erased_at: str = field(default="")
    inbox_files_left: dict[str, str] = field(default_factory=dict)


def erase(workspace: Workspace, member_id: str, *, account: tuple[str, str] | None = None, actor: str) -> Certificate:
    """Erases a member; `account` = (namespace, account id) where it was named by that. Waits for the writer's lease.

    InputError when neither vault nor lake know such a member and nobody of that id was erased before; RunFailed when the
    lease, disk or ledger are not to be had: run it again.
    """
    vault, ledger = workspace.vault, workspace.ledger
    certificate = vault.hmac_one("erasure", member_id)[:24]
    with workspace.lake.write("erase", actor) as writer:
        who = erasing.person(vault, member_id, account)
        first = _earlier(workspace, certificate)
        if not (who.contacts or who.accounts or first) and not _in_lake(workspace, member_id):
            raise InputError("no member of that id is known; find the id with: crm member --account SOURCE:ID")
        stated = account_cells(workspace.config, ledger)
        found = _found(workspace, who, stated, certificate)
        erasing.remember(vault, who, f"erasure {certificate}")
        touched = bool(forget_in_exports(ledger, workspace.exports_dir, member_id, who.spellings, certificate))
        done, waiting = _inbox(workspace)
        for path in done:
            path.unlink(missing_ok=True)
        processes.clear(workspace.data_dir, "spill/*_*")
        processes.clear(vault.folder, "linking/*_*")
        _blank(writer, found["rejects"])
        touched |= bool(erasing.forget_refused(vault, who, stated)) | any(erasing.forget_member(vault, member_id).values())
        vault.sweep()
        made = Certificate(
            certificate, now(), actor, found["removed"], found["suppressed"],
            tuple(CleanedExport(**each) for each in found["exports"]), found["also_held_by_members"], len(waiting),
            vault.suppression_version(), first_erased_at=first.at.isoformat() if first else "",
        )  # fmt: skip
        if first is None or touched:
            writer.audit("erase", certificate, _plain(made))
    _blank_remains(workspace, found["rejects"])
    _begun(workspace, certificate).unlink(missing_ok=True)
    ledger.scrub()
    line = _earlier(workspace, certificate, newest=True)
    left = {str(path.relative_to(workspace.inbox_dir)): _held(workspace, path) for path in waiting}
    return replace(
        made, audit_chain=line.chain if line else "", inbox_files_left={name: held for name, held in left.items() if held}
    )


def _begun(workspace: Workspace, certificate: str) -> Path:
    return workspace.vault.folder / "erasing" / f"{certificate}.json"


def _found(workspace: Workspace, who: erasing.Person, stated: erasing.AccountCells, certificate: str) -> dict[str, Any]:
    """What there is to remove, counted and written down before anything goes: a run that is killed leaves it to the next,
    whose certificate then says what both removed.
    """
    path, vault = _begun(workspace, certificate), workspace.vault
    if not path.exists():
        exports = forget_in_exports(workspace.ledger, workspace.exports_dir, who.member_id, who.spellings, certificate, dry=True)
        refused = erasing.forget_refused(vault, who, stated, dry=True)
        first = {"refused_rows": len(refused), "inbox_files": len(_inbox(workspace)[0])}
        found = {
            "removed": first | erasing.forget_member(vault, who.member_id, dry=True),
            "suppressed": erasing.remember(vault, who, "", dry=True),
            "exports": [asdict(each) for each in exports],
            "also_held_by_members": erasing.others_with(vault, who),
            "rejects": refused,
        }
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_once(path, json.dumps(found))
    return dict(json.loads(path.read_text()))


def _blank(writer: Writer, places: list[erasing.Place]) -> None:
    """Leaves in the lake's `rejects`, and in what loads say of them, no more of these rows than that they were erased."""
    if not places:
        return
    rejects = writer.table("rejects")
    loads = _stating(rejects, places).select("load_id").distinct().to_pyarrow()["load_id"].to_pylist()
    ordered = _blanked(rejects.filter(rejects.load_id.isin(loads)), places).order_by("load_id", "file", "row_number")
    for load_id in loads:
        writer.remove_load("rejects", load_id)
        load = writer.lake.ledger.get(Load, load_id)
        told = [each | {"reason": ERASED} if _first(load_id, each) in places else each for each in load.detail["rejects"]]
        load.detail = {**load.detail, "rejects": told}
        writer.record(load)
    if loads:
        writer.append("rejects", ordered)


def _stating(rejects: ir.Table, places: list[erasing.Place]) -> ir.Table:
    """The rows of `places` that say more than that they were erased."""
    return rejects.semi_join(ibis.memtable(places), ["load_id", "file", "row_number"]).filter(rejects.reason != ERASED)


def _blanked(rejects: ir.Table, places: list[erasing.Place]) -> ir.Table:
    ours = _stating(rejects, places)
    blank = ours.mutate(reason=ibis.literal(ERASED), row=ibis.null("string")).select(rejects.columns)
    return rejects.anti_join(ours, ["load_id", "file", "row_number"]).union(blank)


def _blank_remains(workspace: Workspace, places: list[erasing.Place]) -> None:
    """Does so in the files of `rejects` that only earlier snapshots hold, so that pinned ones can still be read."""
    if not places:
        return
    lake = workspace.lake
    with lake.write("erase") as writer:
        for path in delta.parquet(lake.root / "rejects") - set(map(Path, writer.files("rejects"))):
            rows, made = lake.read_files("rejects", [str(path)]), path.with_suffix(".partial")
            if count(_stating(rows, places)):
                lake.engine.to_parquet(_blanked(rows, places), made)
                sync(made)
                made.replace(path)
        delta.forget_ranges(lake.root / "rejects")


def _first(load_id: str, told: dict[str, Any]) -> erasing.Place:
    """The row whose reason a load tells."""
    return {"load_id": load_id, "file": told["file"], "row_number": told["row_numbers"][0]}


def _plain(made: Certificate) -> dict[str, Any]:
    dropped = ("certificate", "actor", "erased_at", "audit_chain", "first_erased_at", "inbox_files_left")
    return {name: value for name, value in asdict(made).items() if name not in dropped}


def _earlier(workspace: Workspace, certificate: str, newest: bool = False) -> AuditEntry | None:
    order = AuditEntry.id.desc() if newest else AuditEntry.id
    query = select(AuditEntry).where(AuditEntry.action == "erase", AuditEntry.subject == certificate).order_by(order)
    with workspace.ledger.session() as session:
        return session.scalars(query.limit(1)).first()


def _in_lake(workspace: Workspace, member_id: str) -> bool:
    for name, schema in TABLES.items():
        if "member_id" in schema.names and workspace.lake.has_rows(name):
            rows = workspace.lake.table(name)
            if rows.filter(rows.member_id == member_id).limit(1).count().to_pyarrow().as_py():
                return True
    return False


def _inbox(workspace: Workspace) -> tuple[list[Path], list[Path]]:
    """The inbox's files that live loads hold, and the others, which wait."""
    files = sorted(path for path in workspace.inbox_dir.rglob("*") if path.is_file())
    query = select(LoadFile.sha256).join(Load, Load.load_id == LoadFile.load_id).where(Load.state == "live")
    with workspace.ledger.session() as session:
        held = set(session.scalars(query))
    done = [path for path in files if (parts := _parts(path)) and all(part.measure()[0] in held for part in parts)]
    return done, [path for path in files if path not in done]


def _held(workspace: Workspace, path: Path) -> str:
    """What loading a file of the inbox would find of erased people; empty for nothing."""
    source = path.relative_to(workspace.inbox_dir).parts[0]
    try:
        tried = ingest(workspace.config, workspace.lake, workspace.vault, source, [path], dry_run=True)
    except CrmError as error:
        return f"could not be looked through: {error}"
    if any(file.known_load for file in tried.files):
        return "could not be looked through: part of it was loaded"
    return f"{tried.erased} rows of people who were erased" if tried.erased else ""


def _parts(path: Path) -> list[Found]:
    """The files that a path of the inbox brings: itself, or those in the archive."""
    if path.suffix.lower() != ".zip":
        return [Found(path, ())]
    try:
        return [Found(path, (), member) for member in archive.members(path)]
    except InputError:  # no archive after all: it was never loaded
        return [Found(path, ())]
