"""A text file as clean UTF-8 in the spill folder: decoded strictly in a stream, line ends alike, headings
taken off.

The engine reads the copy, never the original: it can live anywhere, may be compressed or in GB18030, and
cannot change while it is read. Memory is bounded by the chunk, whatever the file's size.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from crm_core.config.sources import ReaderSettings
from crm_core.errors import InputError, RunFailed
from crm_core.ingest import transcode
from crm_core.ingest.plain_copy import plain_copy

MAX_HEADING = 1 << 20
SAMPLE = 8 << 20
"""Bytes of a file by which a guessed encoding is checked."""
BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Text:
    """A decoded file: `path` holds the rows below the headings (all of them where it has none), `heading_record`
    the headings or else the first row, and `rows_above` says how many rows stood above that. Blank lines are gone: `blanks`
    says of each how many rows are above it.
    """

    path: Path
    encoding: str
    heading_record: str
    rows_above: int
    blanks: Sequence[int] = ()


def inner_kind(path: Path, name: str) -> str:
    """'parquet' or 'xlsx' where the gzip file at `path` holds one, else ''."""
    with _open(path, True, name) as handle:
        start = handle.read(4)
    return {b"PAR1": "parquet", b"PK\x03\x04": "xlsx"}.get(start, "")


def unpack(path: Path, target: Path, name: str) -> None:
    """Writes what a gzip file holds to `target`. InputError when it is cut off, RunFailed on a full disk."""
    with writing(target.parent), _open(path, True, name) as handle, target.open("wb") as out:
        shutil.copyfileobj(handle, out, 1 << 20)


def copy(path: Path, target: Path) -> None:
    """Copies `path` to `target`. RunFailed when the disk is full."""
    with writing(target.parent):
        shutil.copyfile(path, target)


def decode(path: Path, target: Path, reader: ReaderSettings, compressed: bool, json: bool = False, name: str = "") -> Text:
    """Writes the rows of `path` to `target` as UTF-8 and returns the headings' text. `json`: a quotation mark
    opens nothing that a line end could stand in; `name`: the file's name in errors, where it is another.

    InputError where bytes cannot be decoded (names the encoding), where there are NUL bytes, no headings or no
    end to them, or where a gzip file is cut off. RunFailed when the disk is full.
    """
    name, shape = name or path.name, _Shape(reader, json)
    with _open(path, compressed, name) as handle:
        start = handle.read(4)
    for encoding in _candidates(start, reader.encoding):
        try:
            with writing(target.parent):
                found = _decode(path, target, encoding, shape, compressed, name)
            if encoding == "gb18030" and reader.encoding == "auto":
                _check_guess(path, compressed, name)
            return found
        except UnicodeDecodeError as error:
            failed = error
        except transcode.NulBytes:
            raise InputError(
                f"{name} holds NUL bytes: it is binary or UTF-16 without a mark; save it as CSV in UTF-8, "
                "or set reader.encoding: utf-16"
            ) from None
    raise InputError(
        f"{name} cannot be decoded as {' or '.join(_candidates(start, reader.encoding))} "
        f"({failed.reason}); save it as UTF-8, or set reader.encoding in the source"
    )


def _check_guess(path: Path, compressed: bool, name: str) -> None:
    """InputError where a text that passes for GB18030 is UTF-8 with broken bytes, or Windows-1252."""
    with _open(path, compressed, name) as handle:
        head = handle.read(SAMPLE)
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    broken, good = text.count("\ufffd"), len(re.findall("[^\\x00-\\x7f\ufffd]", text))
    if good > 9 * broken:
        first = f"the first in line {text[: text.index(chr(0xFFFD))].count(chr(10)) + 1}" if broken else "far behind"
        raise InputError(
            f"{name} is UTF-8 with {broken or 'some'} broken characters, {first}; export it again, mend them, or set "
            "reader.encoding in the source if it is something else"
        )
    if 2 * len(re.findall(rb"(?<![\x80-\xff])[\xc0-\xff][a-z]", head)) > len(re.findall(rb"[\x80-\xff]+", head)):
        raise InputError(
            f"{name} is not UTF-8, and its letters look like Windows-1252, not GB18030; set reader.encoding to cp1252 or "
            "gb18030 in the source"
        )


def split_headings(text: Text, delimiter: str, name: str) -> list[str]:
    """The headings as a list. InputError where a line end stands beside a quotation mark that opens nothing."""
    try:
        return next(csv.reader(io.StringIO(text.heading_record), delimiter=delimiter), [])
    except csv.Error:
        raise InputError(
            f"{name}: its headings cannot be told apart: one has a quotation mark in its middle, and a line end behind it; "
            "export the file again, or mend its first line"
        ) from None


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
def _open(path: Path, compressed: bool, name: str) -> Iterator[io.BufferedIOBase]:
    try:
        with path.open("rb") as raw:
            if not compressed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{name} is a damaged or cut-off gzip file; export or copy it again") from None


class _Shape:
    """What the decoder has to know of a file: lines to skip, whether headings come next, whether quotes count."""

    def __init__(self, reader: ReaderSettings, json: bool) -> None:
        self.skip, self.headless, self.quotes = reader.skip_lines, json or bool(reader.headings), not json


def _decode(path: Path, target: Path, encoding: str, shape: _Shape, compressed: bool, name: str) -> Text:
    if encoding == "utf-16":  # line ends and quotes are looked for as bytes
        plain = target.with_name(f"{target.name}_utf8")
        with _open(path, compressed, name) as handle, plain.open("wb") as out:
            transcode.transcode(handle, out, encoding)
        found = _decode(plain, target, "utf-8", shape, False, name)
        plain.unlink()
        return replace(found, encoding=encoding)
    codec = "utf-8" if encoding == "utf-8-sig" else encoding
    with _open(path, compressed, name) as handle:
        above, heading, start = _take_headings(handle, shape, name, codec)
        handle.seek(start)
        large = not compressed and path.stat().st_size >= transcode.WORTH_A_PROCESS
        blank = plain_copy(path, start, target) if large and codec == "utf-8" else None
        if blank is None:
            with target.open("wb") as out:
                if compressed:
                    blank = transcode.transcode(handle, out, codec)
                else:
                    blank = transcode.transcode_file(path, start, out, codec, target)
    blanks = transcode.drop_blank_lines(target, shape.quotes) if blank else ()
    return Text(target, encoding, heading, above, blanks)


def _take_headings(handle: io.BufferedIOBase, shape: _Shape, name: str, codec: str) -> tuple[int, str, int]:
    """Rows above the headings, the record of headings, and the byte where the rows begin.

    Without headings: rows above the first row, that row, and where it begins. Line ends and quotation marks are
    bytes that stand for nothing else in every encoding that comes here.
    """
    head = handle.read(MAX_HEADING + 1)
    begin = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    above = 0
    for end, rest in _records(head, begin, shape.quotes):
        record = head[begin:end]
        if above >= shape.skip and record.strip():
            head[:begin].decode(codec)
            return above, record.decode(codec), begin if shape.headless else rest
        begin, above = rest, above + 1
    last = head[begin:]
    if len(head) > MAX_HEADING:
        raise InputError(f"{name} has no line end in its first megabyte: it is not a table of text")
    if not last.strip():
        raise InputError(f"{name} holds no {'rows' if shape.headless else 'headings'} (it is blank); export it again")
    return above, last.decode(codec), begin if shape.headless else len(head)


def _records(head: bytes, begin: int, quotes: bool) -> Iterator[tuple[int, int]]:
    """End of each whole record of `head`, and the byte where the next begins."""
    marks = 0
    for found in re.finditer(rb"\r\n|\n|\r(?!\Z)", head):
        marks += head.count(b'"', begin, found.start()) if quotes else 0
        begin = found.end()
        if marks % 2 == 0:
            yield found.start(), begin
