"""A text file as clean UTF-8 in the spill folder: decoded strictly in a stream, line ends alike, headings
taken off.

The engine reads the copy, never the original: it can live anywhere, may be compressed or in GB18030, and
cannot change while it is read. Memory is bounded by the chunk, whatever the file's size.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from crm_core.config.sources import ReaderSettings
from crm_core.errors import InputError, RunFailed

CHUNK = 1 << 20
MAX_HEADING = 1 << 20
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Text:
    """A decoded file: `path` holds the rows below the headings (all of them where it has none), `heading_record`
    the headings or else the first row, and `rows_above` says how many rows stood above that.
    """

    path: Path
    encoding: str
    heading_record: str
    rows_above: int


def sha256(path: Path) -> str:
    """SHA-256 of the file's bytes. InputError when it cannot be read."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}; check its permissions") from None


def copy(path: Path, target: Path) -> None:
    """Copies `path` to `target`. RunFailed when the disk is full."""
    with writing(target.parent):
        shutil.copyfile(path, target)


def decode(path: Path, target: Path, reader: ReaderSettings, compressed: bool, json: bool = False) -> Text:
    """Writes the rows of `path` to `target` as UTF-8 and returns the headings' text. `json`: a quotation mark
    opens nothing that a line end could stand in.

    InputError where bytes cannot be decoded (names encoding and place), where there are NUL bytes, no
    headings or no end to them, or where a gzip file is cut off. RunFailed when the disk is full.
    """
    with _open(path, compressed) as handle:
        start = handle.read(4)
    for encoding in _candidates(start, reader.encoding):
        try:
            with _open(path, compressed) as handle, writing(target.parent):
                return _decode(handle, path, target, encoding, _Shape(reader, json))
        except UnicodeDecodeError as error:
            failed = error
    raise InputError(
        f"{path.name} cannot be decoded as {' or '.join(_candidates(start, reader.encoding))} "
        f"({failed.reason}); save it as UTF-8, or set reader.encoding in the source"
    )


def split_headings(text: Text, delimiter: str) -> list[str]:
    """The headings as a list."""
    return next(csv.reader(io.StringIO(text.heading_record), delimiter=delimiter), [])


def _candidates(start: bytes, wanted: str) -> list[str]:
    marked = next((encoding for mark, encoding in BOMS if start.startswith(mark)), None)
    if wanted != "auto":
        return ["utf-8-sig" if wanted == "utf-8" else wanted]
    return [marked] if marked else ["utf-8", "gb18030"]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a full or read-only disk while writing below `folder` into RunFailed."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, gzip.BadGzipFile):
            raise
        raise RunFailed(f"{folder} cannot be written: {os.strerror(error.errno)}; nothing was loaded") from None


@contextmanager
def _open(path: Path, compressed: bool) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as raw:
            if not compressed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path.name} is a damaged or cut-off gzip file; export or copy it again") from None


class _Shape:
    """What the decoder has to know of a file: lines to skip, whether headings come next, whether quotes count."""

    def __init__(self, reader: ReaderSettings, json: bool) -> None:
        self.skip, self.headless, self.quotes = reader.skip_lines, json or bool(reader.headings), not json


def _decode(handle: IO[bytes], path: Path, target: Path, encoding: str, shape: _Shape) -> Text:
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("strict"), translate=True)
    chunks = _chunks(handle, decoder, path)
    rows_above, heading, rest = _take_headings(chunks, shape, path)
    blank_lines = _BlankLines(shape.quotes)
    with target.open("w", encoding="utf-8", newline="\n") as out:
        out.write(blank_lines.drop(rest))
        for chunk in chunks:
            out.write(blank_lines.drop(chunk))
    return Text(target, encoding, heading, rows_above)


def _chunks(handle: IO[bytes], decoder: io.IncrementalNewlineDecoder, path: Path) -> Iterator[str]:
    while block := handle.read(CHUNK):
        yield _no_nul(decoder.decode(block), path)
    yield _no_nul(decoder.decode(b"", final=True), path)


def _no_nul(text: str, path: Path) -> str:
    if "\0" in text:
        raise InputError(
            f"{path.name} holds NUL bytes: it is binary or UTF-16 without a mark; save it as CSV in UTF-8, "
            "or set reader.encoding: utf-16"
        )
    return text


def _take_headings(chunks: Iterator[str], shape: _Shape, path: Path) -> tuple[int, str, str]:
    """Rows above the headings, the record of headings, and what follows it of the text read so far.

    Without headings: rows above the first row, that row, and the text read so far from it on.
    """
    text, above = "", 0
    for chunk in chunks:
        text += chunk
        while (end := _record_end(text, shape.quotes)) is not None:
            record, rest = text[:end], text[end + 1 :]
            if above >= shape.skip and record.strip():
                return above, record, text if shape.headless else rest
            text = rest
            above += 1
        if len(text) > MAX_HEADING:
            raise InputError(f"{path.name} has no line end in its first megabyte: it is not a table of text")
    if not text.strip():
        raise InputError(
            f"{path.name} holds no {'rows' if shape.headless else 'headings'} (it is blank); export it again"
        )
    return above, text, text if shape.headless else ""


def _record_end(text: str, quotes: bool) -> int | None:
    end = text.find("\n")
    while quotes and end >= 0 and text.count('"', 0, end) % 2:
        end = text.find("\n", end + 1)
    return end if end >= 0 else None


class _BlankLines:
    """Drops lines without a character outside quotes, which the engine would skip but count."""

    def __init__(self, quotes: bool = True) -> None:
        self.quoted, self.at_start, self.mark = False, True, '"' if quotes else "\0"

    def drop(self, text: str) -> str:
        if "\n\n" not in text and not (self.at_start and text.startswith("\n")):
            if text:
                self.quoted ^= bool(text.count(self.mark) % 2)
                self.at_start = text.endswith("\n")
            return text
        kept: list[str] = []
        *lines, last = text.split("\n")
        for line in lines:
            if line or self.quoted or not self.at_start:
                kept.append(line + "\n")
            self.quoted ^= bool(line.count(self.mark) % 2)
            self.at_start = True
        self.quoted ^= bool(last.count(self.mark) % 2)
        self.at_start = not last and self.at_start
        return "".join([*kept, last])
