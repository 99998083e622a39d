"""Bytes of a text as UTF-8 with line ends alike, strictly and in a stream (this file is also run as a script).

GB18030 takes Python's codec a third of a second per core and 40 MB, and the codec holds the interpreter: a long file is
cut at line ends and each piece goes to a process of its own. iconv would be faster still, but its table is another
one: some signs would change with the machine. The script imports nothing but the standard library.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

CHUNK = 1 << 20
WORTH_A_PROCESS = 16 << 20
"""Bytes from which on a piece of a file pays for the start of a process."""
LONGEST_LINE = 4 << 20
MOST_PROCESSES = 8
MOST_BLANKS = 100_000
_TWO_ENDS = re.compile(rb"\n\n")  # twice as fast as the `in` of bytes


class NulBytes(ValueError):
    """The text holds a NUL, which no CSV does."""


def transcode(source: io.BufferedIOBase, target: IO[bytes], encoding: str, size: int = -1) -> bool:
    """Writes `size` bytes of `source` (default: all) to `target` as UTF-8; returns whether there is a blank line.

    Line ends become a line feed. UnicodeDecodeError as the codec has it; NulBytes.
    """
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    same, cut, left, ended, blank = encoding == "utf-8", b"", size, True, False
    while True:
        block = source.read(CHUNK if left < 0 else min(CHUNK, left))
        left -= len(block) if left >= 0 else 0
        text = decoder.decode(block, final=not block)
        data = cut + (block if same else text.encode())
        if b"\0" in data:
            raise NulBytes
        cut = b""
        if b"\r" in data:
            if block and data.endswith(b"\r"):  # its line feed may be the next byte
                data, cut = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if data:
            blank = blank or _TWO_ENDS.search(data) is not None or (ended and data.startswith(b"\n"))
            ended = data.endswith(b"\n")
            target.write(data)
        if not block:
            return blank


def transcode_file(path: Path, start: int, target: IO[bytes], encoding: str, part: Path) -> bool:
    """`transcode` of the file at `path` from byte `start` on, by as many processes as pay; `part` names the files
    that the others write. Errors as `transcode` and OSError.
    """
    with path.open("rb") as source:
        ends = _pieces(source, start, path.stat().st_size, encoding)
        children = [
            _Child(path, begin, end, encoding, part.with_name(f"{part.name}_{place}"))
            for place, (begin, end) in enumerate(itertools.pairwise(ends))
        ]
        try:
            source.seek(start)
            blank = transcode(source, target, encoding, ends[0] - start if children else -1)
            for child in children:
                blank = child.append(target) or blank
        finally:
            for child in children:
                child.end()
    return blank


def _pieces(source: io.BufferedIOBase, start: int, size: int, encoding: str) -> list[int]:
    """Where pieces end, each behind a line feed; that byte stands for nothing else in UTF-8 and GB18030.

    UTF-8 is checked as fast as it is copied.
    """
    count = min(os.cpu_count() or 1, MOST_PROCESSES, (size - start) // WORTH_A_PROCESS)
    if encoding != "gb18030" or count < 2:
        return [size]
    ends: list[int] = []
    for place in range(1, count):
        source.seek(start + (size - start) * place // count)
        if source.readline(LONGEST_LINE).endswith(b"\n") and source.tell() > max([start, *ends]):
            ends.append(source.tell())
    return [*[end for end in ends if end < size], size]


class _Child:
    """One piece of a file in a process of its own."""

    def __init__(self, path: Path, start: int, end: int, encoding: str, target: Path) -> None:
        self.target = target
        command = [sys.executable, "-I", "-S", __file__, str(path), str(start), str(end), encoding, str(target)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def append(self, target: IO[bytes]) -> bool:
        """Waits for the piece and adds it to `target`; raises what went wrong in the process."""
        answer, _ = self.process.communicate()
        said = json.loads(answer or b'{"error": "gone"}')
        if reason := said.get("reason"):
            raise UnicodeDecodeError("gb18030", b"\0", 0, 1, reason)
        if said.get("nul"):
            raise NulBytes
        if "blank" not in said:
            raise OSError(said.get("errno") or 5, "the process that decodes a part of the file ended before its time")
        with self.target.open("rb") as piece:
            shutil.copyfileobj(piece, target, CHUNK)
        return bool(said["blank"])

    def end(self) -> None:
        """Ends the process where it still runs and removes what it wrote."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            self.target.unlink()


class BlankLines:
    """Drops lines without a character outside quotes, which the engine would skip but count. `before` says of each how many
    rows were kept above it, of the first MOST_BLANKS.
    """

    def __init__(self, quotes: bool = True) -> None:
        self.quoted, self.at_start, self.mark = False, True, b'"' if quotes else b"\0"
        self.rows, self.before = 0, array("q")

    def drop(self, text: bytes) -> bytes:
        """The next bytes of a text without its blank lines."""
        if b"\n\n" not in text and not (self.at_start and text.startswith(b"\n")):
            self.rows += sum(outside.count(b"\n") for outside in text.split(self.mark)[int(self.quoted) :: 2])
            self.quoted ^= bool(text.count(self.mark) % 2)
            self.at_start = text.endswith(b"\n") if text else self.at_start
            return text
        kept: list[bytes] = []
        *lines, last = text.split(b"\n")
        for line in lines:
            blank = not line and not self.quoted and self.at_start
            self.quoted ^= bool(line.count(self.mark) % 2)
            if not blank:
                kept.append(line + b"\n")
                self.rows += not self.quoted
            elif len(self.before) < MOST_BLANKS:
                self.before.append(self.rows)
            self.at_start = True
        self.quoted ^= bool(last.count(self.mark) % 2)
        self.at_start = not last and self.at_start
        return b"".join([*kept, last])


def drop_blank_lines(path: Path, quotes: bool) -> Sequence[int]:
    """Rewrites the UTF-8 file at `path` without its blank lines; `BlankLines.before`."""
    dropper, kept = BlankLines(quotes), path.with_name(f"{path.name}_kept")
    with path.open("rb") as source, kept.open("wb") as target:
        for block in _blocks(source):
            target.write(dropper.drop(block))
    kept.replace(path)
    return dropper.before


def _blocks(source: io.BufferedIOBase) -> Iterator[bytes]:
    while block := source.read(CHUNK):
        yield block


def main(arguments: list[str]) -> dict[str, object]:
    """The child: transcodes bytes `start` to `end` of a file and says how it went."""
    path, start, end, encoding, target = arguments
    try:
        with Path(path).open("rb") as source, Path(target).open("wb") as out:
            source.seek(int(start))
            return {"blank": transcode(source, out, encoding, int(end) - int(start))}
    except UnicodeDecodeError as error:
        return {"reason": error.reason}
    except NulBytes:
        return {"nul": True}
    except OSError as error:
        return {"errno": error.errno}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])))
