"""Files that leave: written to a folder of another name, synced, then renamed, so that a hand-off is whole or
absent; the same rows give the same bytes, whatever batches the engine cuts them into.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from crm_core.config.platforms import PlatformSettings
from crm_core.errors import RunFailed
from crm_core.store.durable import sync

CHUNK_ROWS = 50_000
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class WrittenFile:
    """One file of a hand-off: its path within the folder, hash and rows (headings not counted)."""

    path: str
    sha256: str
    rows: int


def chunks(table: ir.Table, rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """The table's rows in pieces of exactly `rows` (the last one shorter); none when it is empty."""
    held: list[pa.Table] = []
    size = 0
    for batch in table.to_pyarrow_batches(chunk_size=rows):
        held.append(pa.Table.from_batches([batch]))
        size += batch.num_rows
        while size >= rows:
            whole = pa.concat_tables(held).combine_chunks()
            yield whole.slice(0, rows)
            held, size = [whole.slice(rows)], size - rows
    if size:
        yield pa.concat_tables(held).combine_chunks()


def write_payload(table: ir.Table, folder: Path, platform: PlatformSettings) -> list[WrittenFile]:
    """payload/part-0001.csv … in the platform's encoding and line end, none longer than `max_rows`; all
    columns text.

    An empty table gives one part with headings alone. Raises RunFailed for text that the encoding cannot
    hold.
    """
    (folder / "payload").mkdir(mode=0o700)
    heading, lines = ",".join(table.columns), _lines(table)
    pieces = (piece["line"] for piece in chunks(lines, platform.max_rows))
    written = [_write_part(heading, piece, folder, number, platform) for number, piece in enumerate(pieces, start=1)]
    return written or [_write_part(heading, pa.chunked_array([], pa.string()), folder, 1, platform)]


def _lines(table: ir.Table) -> ir.Table:
    # quoted only where needed (RFC 4180), in the engine: arrow's writer quotes every text, which some
    # consoles take literally
    cells = [table[name].fill_null("") for name in table.columns]
    quoted = [
        (cell.contains(",") | cell.contains('"')).ifelse(ibis.literal('"') + cell.replace('"', '""') + '"', cell) for cell in cells
    ]
    return table.select(line=ibis.literal(",").join(quoted))


def _write_part(heading: str, lines: pa.ChunkedArray, folder: Path, number: int, platform: PlatformSettings) -> WrittenFile:
    end = "\r\n" if platform.line_end == "crlf" else "\n"
    text = heading + end + "".join(f"{block}{end}" for block in _joined(lines, end))
    try:
        content = text.encode(platform.encoding)
    except UnicodeEncodeError as error:
        raise RunFailed(
            f"a text of part {number} holds a character (U+{ord(text[error.start]):04X}) that "
            f"{platform.encoding} has not; "
            "change the template or the platform's encoding"
        ) from None
    name = f"payload/part-{number:04d}.csv"
    (folder / name).write_bytes(content)
    return WrittenFile(name, hashlib.sha256(content).hexdigest(), len(lines))


def _joined(lines: pa.ChunkedArray, end: str) -> Iterator[str]:
    for chunk in lines.chunks:
        if len(chunk):
            yield pc.binary_join(pa.ListArray.from_arrays([0, len(chunk)], chunk), end)[0].as_py()


def write_parquet(table: ir.Table, folder: Path, name: str) -> WrittenFile:
    """One Parquet file, in the table's order, the same bytes for the same rows."""
    path, rows = folder / name, 0
    kinds = table.schema().to_pyarrow()
    with pyarrow.parquet.ParquetWriter(path, kinds, compression="zstd") as writer:
        for piece in chunks(table):
            writer.write_table(piece.cast(kinds))
            rows += piece.num_rows
    return WrittenFile(name, _sha256(path), rows)


def write_manifest(content: dict[str, Any], folder: Path) -> str:
    """manifest.json; returns its SHA-256."""
    data = (json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
    (folder / MANIFEST).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def manifest_holds(folder: Path, expected: str) -> bool:
    """Whether the manifest has that hash and every file in it is there, unaltered."""
    path = folder / MANIFEST
    if not path.is_file() or _sha256(path) != expected:
        return False
    listed = json.loads(path.read_bytes())["files"]
    return all((folder / each["path"]).is_file() and _sha256(folder / each["path"]) == each["sha256"] for each in listed)


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to write in; leaving well syncs it and renames it to `folder`, an
    exception removes it.

    A folder that is already there is replaced. Raises RunFailed when the disk will not take it.
    """
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        yield work
        _seal(work)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise RunFailed(f"{folder} could not be written: {error.strerror or error}; check permissions and space") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _seal(work: Path) -> None:
    for path in sorted(work.rglob("*"), reverse=True):
        if path.is_file():
            path.chmod(0o600)
        sync(path)
    sync(work)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
