"""A file that is UTF-8 with line feeds alone, as most exports are, copied by several threads.

Each piece is read, checked and written where it belongs. Where one is anything else, nothing is said of it: `transcode` then
goes through the file.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

PIECE = 4 << 20
MOST_THREADS = 8
_TWO_ENDS = re.compile(rb"\n\n")  # twice as fast as the `in` of bytes


def plain_copy(path: Path, start: int, target: Path) -> bool | None:
    """Writes the bytes of `path` from `start` on to `target` and returns whether there is a blank line; None, with part of
    them written, where they are not UTF-8, or a carriage return or NUL is among them. OSError as reading and writing have it.
    """
    source, out = os.open(path, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    size = os.fstat(source).st_size

    def piece(begin: int) -> bool | None:
        begin, end = _character(source, begin, start), _character(source, min(begin + PIECE, size), start)
        ahead = os.pread(source, 1, begin - 1) if begin > start else b"\n"
        data = os.pread(source, end - begin, begin)
        if len(data) != end - begin or b"\0" in data or b"\r" in data or not _is_utf8(data):
            return None
        written = 0
        while written < len(data):  # a disk that is nearly full takes a part
            written += os.pwrite(out, data[written:], begin - start + written)
        return (ahead + data[:1]) == b"\n\n" or _TWO_ENDS.search(data) is not None

    try:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
            found = list(pool.map(piece, range(start, size, PIECE)))
    finally:
        os.close(source)
        os.close(out)
    return None if None in found else any(found)


def _character(source: int, place: int, start: int) -> int:
    """The first byte at or behind `place` that does not go on with a character."""
    following = os.pread(source, 3, place) if place > start else b""
    return place + next((at for at, byte in enumerate(following) if byte & 0xC0 != 0x80), len(following))


def _is_utf8(data: bytes) -> bool:
    ends = pa.array([0, len(data)], pa.int64()).buffers()[1]
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(data)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
