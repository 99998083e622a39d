"""A file that is UTF-8 with line feeds alone, as most exports are, copied by several threads.

Each piece is read, checked and written where it belongs. Where one is anything else, nothing is said of it: `transcode` then
goes through the file.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

PIECE = 4 << 20
MOST_THREADS = 8
_TWO_ENDS = np.frombuffer(b"\n\n", "<u2")[0]


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
        _put(source, out, data, begin, begin - start)
        return (ahead + data[:1]) == b"\n\n" or _has_two_ends(data)

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


def _put(source: int, out: int, data: bytes, begin: int, place: int) -> None:
    """Writes `data`, which stands in `source` at `begin`, to `out` at `place`: from file to file where the system can do so,
    in a quarter of the time; it may take a part, as may a disk that is nearly full."""
    written = 0
    # not between these file systems, or not at all; a full disk refuses both ways
    with suppress(OSError, AttributeError):
        while written < len(data):
            taken = os.copy_file_range(source, out, len(data) - written, begin + written, place + written)
            if not taken:  # the file has become shorter: what was read of it is written
                break
            written += taken
    while written < len(data):
        written += os.pwrite(out, data[written:], place + written)


def _has_two_ends(data: bytes) -> bool:
    """Whether there is a blank line: compared two bytes at a time, from the first and from the second on, which takes half
    the time of a search."""
    pairs = (np.frombuffer(data, "<u2", (len(data) - at) // 2, at) for at in (0, 1) if len(data) > at + 1)
    return any(bool((pair == _TWO_ENDS).any()) for pair in pairs)


def _is_utf8(data: bytes) -> bool:
    ends = pa.array([0, len(data)], pa.int64()).buffers()[1]
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(data)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
