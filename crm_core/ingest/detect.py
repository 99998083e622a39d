"""What a file is, judged by its bytes: CSV, gzip, Parquet, XLSX, or something that cannot be loaded and is
named so.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from crm_core.errors import InputError

SUFFIXES = {
    ".csv": "csv", ".txt": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".xlsx": "xlsx",
}  # fmt: skip
MAX_RATIO, MAX_UNPACKED = 200, 2 * 2**30
"""An XLSX that unpacks to more than this is refused: 0.9 MB have been seen to open to 1.35 GB."""

_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls); save it as .xlsx or CSV",
    b"%PDF": "a PDF; export CSV or XLSX instead",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"SQLi": "an SQLite database; export CSV instead",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}


def detect(path: Path, wanted: str = "auto", name: str = "") -> str:
    """'csv', 'jsonl', either with '.gz', 'parquet' or 'xlsx'. InputError when the file is empty, foreign, or not
    the `wanted` format.
    """
    name = name or path.name
    try:
        with path.open("rb") as handle:
            head = handle.read(64)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}; check its permissions") from None
    if not head:
        raise InputError(f"{name} is empty (0 bytes); export it again")
    found = _by_magic(path, head, name)
    expected = SUFFIXES.get(_suffix(path)) if wanted == "auto" else wanted
    if found.startswith("csv") and (expected == "jsonl" or (wanted == "auto" and head.lstrip()[:1] == b"{")):
        return found.replace("csv", "jsonl")
    if found == "csv" and re.match(rb"\s*\[\s*\{", head):
        raise InputError(f"{name} is one JSON array; write its objects one a line (jq -c '.[]' FILE does so) and name it .jsonl")
    if found.startswith("csv") and expected in ("parquet", "xlsx"):
        raise InputError(
            f"{name} should be {expected} but does not begin like one; it is damaged or wrongly named: export it again"
        )
    if wanted not in ("auto", found.split(".")[0]):
        raise InputError(f"{name} is {found}, but the source's reader.format says {wanted}; correct one of them")
    return found


def _suffix(path: Path) -> str:
    """The ending that says what is inside: of a.jsonl.gz that is .jsonl."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return inner.suffix.lower()


def _by_magic(path: Path, head: bytes, name: str) -> str:
    for magic, meaning in _FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"{name} is {meaning}")
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        _check_workbook(path, name)
        return "xlsx"
    return "csv.gz" if head.startswith(b"\x1f\x8b") else "csv"


def _check_workbook(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        raise InputError(f"{name} is a damaged or cut-off XLSX (its archive has no end); export it again") from None
    if not any(part.filename.startswith("xl/") for part in parts):
        raise InputError(f"{name} is a ZIP archive but no XLSX workbook; name it .zip, or unpack it and load what is inside")
    unpacked = sum(part.file_size for part in parts)
    packed = max(path.stat().st_size, 1)
    if unpacked > MAX_UNPACKED or unpacked > MAX_RATIO * packed + 2**20:
        raise InputError(
            f"{name} would unpack from {packed / 1e6:.1f} MB to {unpacked / 1e6:.0f} MB, "
            "which looks like a trap; save the sheet as CSV if it is really that large"
        )
