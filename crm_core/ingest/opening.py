"""One file opened: what it is, which feed it belongs to, and a clean copy in the spill folder that the
engine can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import ArrowException

from crm_core.config.sources import ReaderSettings, SourceSettings
from crm_core.errors import InputError
from crm_core.ingest import json_lines, spool, workbook
from crm_core.ingest.detect import detect
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.files import Found
from crm_core.ingest.headings import Headings, choose, plain

LINE_LIMIT = 2_000_000
"""Bytes that one row may have."""


@dataclass(frozen=True)
class Opened:
    """A file ready for the engine. `copy` has its rows without headings; `rows_above` stood above the
    first of them; `pointers` says where each heading lies in a JSON line; `fill`: short rows get empty cells.
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

    @property
    def layout(self) -> tuple[object, ...]:
        """What files must have in common to be read in one go."""
        kind = self.format.split(".")[0]
        if kind == "jsonl":  # optional keys come and go from file to file
            return self.feed, kind, *((field, self.pointers[at]) for field, at in self.headings.positions.items())
        return self.feed, kind, self.delimiter, tuple(map(str.strip, self.all_headings))


def open_file(engine: Any, settings: SourceSettings, item: Found, digest: str, copy: Path) -> Opened:
    """Opens a file for the feed that its name or headings fit, with its clean copy at `copy`.

    Where feeds that the name fits are read differently, the first whose way fits the file is taken. InputError
    where it is damaged, foreign, not decodable, or lacks what the feed requires; RunFailed on a full disk.
    """
    readers: dict[ReaderSettings, list[str]] = {}
    # a file of any name is told by its headings, so one without headings must be told by its name
    named = [name for name, feed in settings.feeds.items() if not feed.reader.headings] or list(settings.feeds)
    for name in item.feeds or named:
        readers.setdefault(settings.feeds[name].reader, []).append(name)
    failed: InputError | None = None
    for options, feeds in readers.items():
        try:
            return _open_as(engine, settings, replace(item, feeds=tuple(feeds)), digest, copy, options)
        except InputError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _open_as(
    engine: Any, settings: SourceSettings, item: Found, digest: str, copy: Path, options: ReaderSettings
) -> Opened:
    kind = detect(item.path, options.format)
    before = item.path.stat()
    if kind == "parquet":
        opened = _parquet(settings, item, copy, digest)
    elif kind == "xlsx":
        opened = _xlsx(settings, item, copy, digest, options)
    elif kind.startswith("jsonl"):
        opened = _jsonl(engine, settings, item, copy, digest, options, kind)
    else:
        opened = _csv(settings, item, copy, digest, options, kind)
    after = item.path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(f"{item.path.name} changed while it was being read; load it when it is complete")
    return opened


def _jsonl(
    engine: Any, settings: SourceSettings, item: Found, copy: Path, digest: str, options: ReaderSettings, kind: str
) -> Opened:
    text = spool.decode(item.path, copy, options, compressed=kind.endswith(".gz"), json=True)
    with engine_errors(item.path.name):
        found = json_lines.keys(engine, copy, item.path.name, LINE_LIMIT)
    feed, headings = choose(settings, item.feeds, tuple(found), item.path.name)
    size = item.path.stat().st_size
    return Opened(
        item.path.name, feed, digest, size, kind, text.encoding, copy, "", text.rows_above, headings, tuple(found),
        pointers=tuple(found.values()),
    )  # fmt: skip


def _csv(settings: SourceSettings, item: Found, copy: Path, digest: str, options: ReaderSettings, kind: str) -> Opened:
    text = spool.decode(item.path, copy, options, compressed=kind.endswith(".gz"))
    failed: InputError | None = None
    marks: Sequence[str] = spool.DELIMITERS if options.delimiter == "auto" else (options.delimiter,)
    # the mark that gives most headings comes first, so that its complaint is the one shown
    marks = sorted(marks, key=lambda mark: -text.heading_record.count(mark))
    if options.headings:
        marks = [min(marks, key=lambda mark: abs(text.heading_record.count(mark) + 1 - len(options.headings)))]
    for mark in marks:
        shown = spool.split_headings(text, mark)
        if options.headings:
            if list(map(plain, shown)) == list(map(plain, options.headings)):
                raise InputError(f"{item.path.name}: its first row repeats reader.headings; leave that setting out")
            shown = list(options.headings)
        try:
            feed, headings = choose(settings, item.feeds, shown, item.path.name)
        except InputError as error:
            failed = failed or error
            continue
        size = item.path.stat().st_size
        above = text.rows_above + (0 if options.headings else 1)
        return Opened(
            item.path.name, feed, digest, size, kind, text.encoding, copy, mark, above, headings, tuple(shown),
            fill=settings.feeds[feed].reader.short_rows == "fill",
        )  # fmt: skip
    assert failed is not None
    raise failed


def _parquet(settings: SourceSettings, item: Found, copy: Path, digest: str) -> Opened:
    spool.copy(item.path, copy)
    try:
        shown = pq.ParquetFile(copy).schema_arrow.names
    except (ArrowException, OSError):
        raise InputError(
            f"{item.path.name} is a damaged or cut-off Parquet file (no readable end); export it again"
        ) from None
    feed, headings = choose(settings, item.feeds, shown, item.path.name)
    size = item.path.stat().st_size
    return Opened(item.path.name, feed, digest, size, "parquet", "", copy, "", 0, headings, tuple(shown))


def _xlsx(settings: SourceSettings, item: Found, copy: Path, digest: str, options: ReaderSettings) -> Opened:
    spool.copy(item.path, copy.with_suffix(".xlsx"))
    shown, above = workbook.convert(
        copy.with_suffix(".xlsx"), copy, item.path.name, options.sheet, options.skip_lines, options.headings
    )
    feed, headings = choose(settings, item.feeds, shown, item.path.name)
    size = item.path.stat().st_size
    return Opened(item.path.name, feed, digest, size, "xlsx", "", copy, "", above, headings, tuple(shown))
