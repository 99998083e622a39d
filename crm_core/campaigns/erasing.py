"""One member out of the hand-offs that lie on disk: the line in the payload goes, who got what stays as a pseudonym.

The manifest then names the new hashes and says that somebody was erased; exporting again stops, as the list's refusals
have changed. Parts are replaced before the manifest and the manifest before the ledger, each whole, so that a run that
was killed can be run again: a part that differs from the manifest was done before.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from crm_core.campaigns.files import MANIFEST
from crm_core.store import processes
from crm_core.store.durable import sync
from crm_core.store.ledger import Export

if TYPE_CHECKING:
    from crm_core.store import Ledger

ENCODINGS = ("utf-8", "gb18030")


@dataclass(frozen=True)
class CleanedExport:
    """A hand-off that the member stood in: lines taken out of its payload; `removed`: the payload as a whole went, because
    the member's line could not be told from others (the contact that it was made with is not known any more).
    """

    export_id: str
    lines: int
    removed: bool


def forget_in_exports(
    ledger: Ledger, exports_dir: Path, member_id: str, spellings: Sequence[str], certificate: str, dry: bool = False
) -> list[CleanedExport]:
    """Takes the member out of every payload below `exports_dir`; `spellings` are the contact and account texts to find.
    `dry` only says what would be done.
    """
    found = []
    processes.clear(exports_dir, "*/.*.*")
    for path in sorted(exports_dir.glob(f"*/*/{MANIFEST}")):
        cleaned = _clean(ledger, path.parent, member_id, spellings, certificate, dry)
        if cleaned is not None:
            found.append(cleaned)
    return found


def _clean(
    ledger: Ledger, folder: Path, member_id: str, spellings: Sequence[str], certificate: str, dry: bool
) -> CleanedExport | None:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    named = certificate in manifest.get("erased", ())
    if not named:
        lines, redone = _clean_payload(folder, manifest, spellings, dry)
        listed = (folder / "snapshot.parquet").is_file() and bool(
            pq.read_table(folder / "snapshot.parquet", columns=["member_id"], filters=[("member_id", "=", member_id)]).num_rows
        )
        if not (lines or redone or listed):
            return None
        removed = listed and not (lines or redone)
        if dry:
            return CleanedExport(manifest["export_id"], lines, removed)
        if removed:
            shutil.rmtree(folder / "payload", ignore_errors=True)
            manifest["files"] = [each for each in manifest["files"] if not each["path"].startswith("payload/")]
        manifest["erased"] = sorted({*manifest.get("erased", ()), certificate})
        _replace(folder / MANIFEST, (json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())
    elif dry:
        return None
    else:
        lines, removed = 0, False
    _note(ledger, manifest, hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest())
    return None if named else CleanedExport(manifest["export_id"], lines, removed)


def _clean_payload(folder: Path, manifest: dict[str, Any], spellings: Sequence[str], dry: bool) -> tuple[int, bool]:
    """Lines taken out now, and whether an earlier run that was killed had begun; `manifest` is brought up to date."""
    words = b"|".join(sorted({re.escape(each.encode(code, "ignore")) for each in spellings for code in ENCODINGS if each}))
    line = re.compile(rb'^(?:[^\n]*,)?"?(?:' + words + rb')"?(?:,[^\n]*)?\r?\n', re.MULTILINE)
    gone, redone = 0, False
    for each in manifest["files"]:
        path = folder / each["path"]
        if not each["path"].startswith("payload/") or not path.is_file():
            continue
        content = path.read_bytes()
        kept, count = line.subn(b"", content)
        if count and not dry:
            _replace(path, kept)
        redone |= not count and hashlib.sha256(content).hexdigest() != each["sha256"]
        gone += count
        each["sha256"], each["rows"] = hashlib.sha256(kept).hexdigest(), max(kept.count(b"\n") - 1, 0)
    return gone, redone


def _note(ledger: Ledger, manifest: dict[str, Any], manifest_hash: str) -> None:
    payload = "".join(each["sha256"] for each in manifest["files"] if each["path"].startswith("payload/"))
    with ledger.transaction() as session:
        row = session.get(Export, manifest["export_id"])
        if row is not None:
            row.payload_hash = hashlib.sha256(payload.encode()).hexdigest()
            row.detail = {**row.detail, "manifest_sha256": manifest_hash}


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)
