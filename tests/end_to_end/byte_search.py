"""Every byte of a workspace searched for people: raw bytes of all files, and the values inside compressed ones."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DIGITS = re.compile(r"\d{5,}")
MAIL = re.compile(r"[\w.+\-]+@[\w.\-]+")
WORDS = re.compile(r"[\u3400-\u9fff·]{2,}")
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
CARDS = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{3,}")


def blobs(root: Path) -> Iterator[tuple[Path, bytes]]:
    """(file, content) of everything below `root`; Parquet and gzip also unpacked."""
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield path, content
        if path.suffix == ".parquet" or content[:4] == b"PAR1":
            yield path, "\n".join(map(str, _values(pq.read_table(path, partitioning=None)))).encode()
        if content[:2] == b"\x1f\x8b":
            yield path, gzip.decompress(content)


def _values(table: pa.Table) -> Iterator[object]:
    for column in table.columns:
        yield from (column.combine_chunks().unique().to_pylist() if not pa.types.is_nested(column.type) else column.to_pylist())


def holds(root: Path, needles: Iterable[str]) -> dict[str, set[str]]:
    """needle → files that hold it, in UTF-8 or GB18030; for the few spellings of one person."""
    wanted = {
        needle: {needle.encode("utf-8"), needle.encode("gb18030"), json.dumps(needle)[1:-1].encode()}
        for needle in needles
        if needle
    }
    found: dict[str, set[str]] = {}
    for path, content in blobs(root):
        for needle, spellings in wanted.items():
            if any(each in content for each in spellings):
                found.setdefault(needle, set()).add(str(path.relative_to(root)))
    return found


def names_people(content: str, people: set[str]) -> set[str]:
    """Those of `people` (phones, e-mails, names, account ids) that stand in a text; fast for thousands of them."""
    if "\\u" in content:  # JSON in the ledger writes Chinese as \\u4f55
        content += ESCAPED.sub(lambda found: chr(int(found[1], 16)), content)
    said: set[str] = set(MAIL.findall(content)) | set(CARDS.findall(content))
    for run in set(DIGITS.findall(content)):
        # a phone inside a longer run (+86138…, 0086138…) is found by its last eleven digits too
        said |= {run, run[-11:], run[:11]}
    hits = said & people
    runs = "\n".join(set(WORDS.findall(content)))
    return hits | {person for person in people if WORDS.fullmatch(person) and person in runs}


def people_in(root: Path, people: set[str], leave_out: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """file → people it names, over every file below `root` but for folders of the names `leave_out`."""
    found: dict[str, set[str]] = {}
    for path, content in blobs(root):
        relative = path.relative_to(root)
        if any(part in leave_out for part in relative.parts):
            continue
        if hits := names_people(content.decode("utf-8", "ignore"), people):
            found.setdefault(str(relative), set()).update(hits)
    return found
