"""One file opened: what it is, which feed it belongs to, and a clean copy in the spill folder that the
engine can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import ArrowException

from crm_core.config.sources import ReaderSettings, SourceSettings
from crm_core.errors import InputError
from crm_core.ingest import archive, json_lines, spool, workbook
from crm_core.ingest.detect import detect
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.files import Found
from crm_core.ingest.headings import Headings, choose, plain

LINE_LIMIT = 2_000_000
"""Bytes that one row may have."""


@dataclass(frozen=True)
class Opened:
    """A file ready for the engine. `copy` has its rows without headings; `rows_above` stood above the first of them, and a
    blank line below as many of them as each of `blanks` says; `pointers` says where each heading lies in a JSON line; `fill`:
    short rows get empty cells; `other_sheets` of a workbook are not read.
    """

    name: str
    feed: str
    sha256: str
    bytes: int
    format: str
    encoding: str
    copy: Path
    delimiter: str
    rows_above: int
    headings: Headings
    all_headings: tuple[str, ...]
    pointers: tuple[str, ...] = ()
    fill: bool = False
    blanks: Sequence[int] = ()
    other_sheets: tuple[str, ...] = ()

    @property
    def layout(self) -> tuple[object, ...]:
        """What files must have in common to be read in one go."""
        kind = self.format.split(".")[0]
        if kind == "jsonl":  # optional keys come and go from file to file
            return self.feed, kind, *((field, self.pointers[at]) for field, at in self.headings.positions.items())
        return self.feed, kind, self.delimiter, tuple(map(str.strip, self.all_headings))


def open_file(engine: Any, settings: SourceSettings, item: Found, digest: str, size: int, copy: Path) -> Opened:
    """Opens a file for the feed that its name or headings fit, with its clean copy at `copy`.

    Where feeds that the name fits are read differently, the first whose way fits the file is taken. InputError
    where it is damaged, foreign, not decodable, or lacks what the feed requires; RunFailed on a full disk.
    """
    readers: dict[ReaderSettings, list[str]] = {}
    # a file of any name is told by its headings, so one without headings must be told by its name
    named = [name for name, feed in settings.feeds.items() if not feed.reader.headings] or list(settings.feeds)
    for name in item.feeds or named:
        readers.setdefault(settings.feeds[name].reader, []).append(name)
    path, failed = on_disk(item, copy), None
    for options, feeds in readers.items():
        try:
            return Opening(engine, settings, tuple(feeds), item.name, path, digest, size, copy).opened(options)
        except InputError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def on_disk(item: Found, copy: Path) -> Path:
    """Where the bytes lie by themselves: members of archives are taken out, Parquet and XLSX in gzip unpacked."""
    path = item.path
    if item.member:
        path = copy.with_name(f"{copy.name}_member{''.join(Path(item.member).suffixes[-2:])}")
        with spool.writing(copy.parent):
            archive.extract(item.path, item.member, path)
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    if packed and (inner := spool.inner_kind(path, item.name)):
        unpacked = copy.with_name(f"{copy.name}_inner.{inner}")
        spool.unpack(path, unpacked, item.name)
        return unpacked
    return path


@dataclass(frozen=True)
class Opening:
    """One file on its way: `name` is shown, `path` is where its bytes lie."""

    engine: Any
    settings: SourceSettings
    feeds: tuple[str, ...]
    name: str
    path: Path
    digest: str
    size: int
    copy: Path

    def opened(self, options: ReaderSettings) -> Opened:
        """The file read as `options` say. InputError where it does not fit them."""
        kind = detect(self.path, options.format, self.name)
        if kind == "parquet":
            return self._parquet()
        if kind == "xlsx":
            return self._xlsx(options)
        return self._jsonl(options, kind) if kind.startswith("jsonl") else self._csv(options, kind)

    def _made(self, kind: str, headings: Sequence[str], fit: tuple[str, Headings], above: int, **more: Any) -> Opened:
        return Opened(
            name=self.name, feed=fit[0], sha256=self.digest, bytes=self.size, format=kind, copy=self.copy,
            rows_above=above, headings=fit[1], all_headings=tuple(headings), **{"encoding": "", "delimiter": "", **more},
        )  # fmt: skip

    def _choose(self, headings: Sequence[str]) -> tuple[str, Headings]:
        return choose(self.settings, self.feeds, headings, self.name)

    def _decode(self, options: ReaderSettings, kind: str) -> spool.Text:
        compressed, json = kind.endswith(".gz"), kind.startswith("jsonl")
        return spool.decode(self.path, self.copy, options, compressed=compressed, json=json, name=self.name)

    def _jsonl(self, options: ReaderSettings, kind: str) -> Opened:
        text = self._decode(options, kind)
        with engine_errors(self.name):
            found = json_lines.keys(self.engine, self.copy, self.name, LINE_LIMIT)
        pointers = tuple(found.values())
        fit = self._choose(tuple(found))
        return self._made(kind, tuple(found), fit, text.rows_above, encoding=text.encoding, pointers=pointers, blanks=text.blanks)

    def _csv(self, options: ReaderSettings, kind: str) -> Opened:
        text = self._decode(options, kind)
        failed: InputError | None = None
        for mark in _marks(text, options):
            shown = spool.split_headings(text, mark, self.name)
            if options.headings:
                if list(map(plain, shown)) == list(map(plain, options.headings)):
                    raise InputError(f"{self.name}: its first row repeats reader.headings; leave that setting out")
                shown = list(options.headings)
            try:
                fit = self._choose(shown)
            except InputError as error:
                failed = failed or error
                continue
            above, fill = text.rows_above + (0 if options.headings else 1), options.short_rows == "fill"
            more = {"encoding": text.encoding, "delimiter": mark, "fill": fill, "blanks": text.blanks}
            return self._made(kind, shown, fit, above, **more)
        assert failed is not None
        raise failed

    def _parquet(self) -> Opened:
        spool.copy(self.path, self.copy)
        try:
            shown = pq.ParquetFile(self.copy).schema_arrow.names
        except (ArrowException, OSError, ValueError):
            raise InputError(f"{self.name} is a damaged or cut-off Parquet file (no readable end); export it again") from None
        return self._made("parquet", shown, self._choose(shown), 0)

    def _xlsx(self, options: ReaderSettings) -> Opened:
        book = self.copy.with_suffix(".xlsx")
        spool.copy(self.path, book)
        sheet = workbook.convert(book, self.copy, self.name, options.sheet, options.skip_lines, options.headings)
        return self._made("xlsx", sheet.headings, self._choose(sheet.headings), sheet.above, other_sheets=sheet.others)


def _marks(text: spool.Text, options: ReaderSettings) -> list[str]:
    """The delimiters to try; the one that gives most headings comes first, so that its complaint is the one shown."""
    marks: Sequence[str] = spool.DELIMITERS if options.delimiter == "auto" else (options.delimiter,)
    record = text.heading_record
    if options.headings:
        return [min(marks, key=lambda mark: abs(record.count(mark) + 1 - len(options.headings)))]
    return sorted(marks, key=lambda mark: -record.count(mark))
