"""One file opened: what it is, which feed it belongs to, and a clean copy in the spill folder that the
engine can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import ArrowException

from crm_core.config.sources import ReaderSettings, SourceSettings
from crm_core.errors import InputError
from crm_core.ingest import spool, workbook
from crm_core.ingest.detect import detect
from crm_core.ingest.files import Found
from crm_core.ingest.headings import Headings, choose


@dataclass(frozen=True)
class Opened:
    """A file ready for the engine. `copy` has its rows without headings; `rows_above` stood above the
    first of them.
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

    @property
    def layout(self) -> tuple[object, ...]:
        """What files must have in common to be read in one go."""
        kind = self.format.split(".")[0]
        return self.feed, kind, self.delimiter, tuple(map(str.strip, self.all_headings))


def open_file(settings: SourceSettings, item: Found, digest: str, copy: Path) -> Opened:
    """Opens a file for the feed that its name or headings fit, with its clean copy at `copy`.

    InputError where it is damaged, foreign, not decodable, or lacks what the feed requires; RunFailed on a
    full disk.
    """
    options = settings.feeds[item.feeds[0] if item.feeds else next(iter(settings.feeds))].reader
    kind = detect(item.path, options.format)
    before = item.path.stat()
    if kind == "parquet":
        opened = _parquet(settings, item, copy, digest)
    elif kind == "xlsx":
        opened = _xlsx(settings, item, copy, digest, options)
    else:
        opened = _csv(settings, item, copy, digest, options, kind)
    after = item.path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(f"{item.path.name} changed while it was being read; load it when it is complete")
    return opened


def _csv(settings: SourceSettings, item: Found, copy: Path, digest: str, options: ReaderSettings, kind: str) -> Opened:
    text = spool.decode(item.path, copy, options, compressed=kind.endswith(".gz"))
    failed: InputError | None = None
    marks = spool.DELIMITERS if options.delimiter == "auto" else (options.delimiter,)
    # the mark that gives most headings comes first, so that its complaint is the one shown
    for mark in sorted(marks, key=lambda mark: -text.heading_record.count(mark)):
        shown = spool.split_headings(text, mark)
        try:
            feed, headings = choose(settings, item.feeds, shown, item.path.name)
        except InputError as error:
            failed = failed or error
            continue
        size = item.path.stat().st_size
        above = text.rows_above + 1
        return Opened(
            item.path.name, feed, digest, size, kind, text.encoding, copy, mark, above, headings, tuple(shown)
        )
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
    shown, above = workbook.convert(copy.with_suffix(".xlsx"), copy, item.path.name, options.sheet, options.skip_lines)
    feed, headings = choose(settings, item.feeds, shown, item.path.name)
    size = item.path.stat().st_size
    return Opened(item.path.name, feed, digest, size, "xlsx", "", copy, "", above + 1, headings, tuple(shown))
