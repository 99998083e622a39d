"""Which files a call names, and which feed each belongs to: by name pattern where a folder is given, else
also by headings.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from crm_core.config.sources import FeedSettings, SourceSettings
from crm_core.errors import InputError
from crm_core.ingest import archive


@dataclass(frozen=True)
class Found:
    """A file to load, or a file (`member`) of the ZIP archive at `path`, and the feeds that its name fits
    (several or none: its headings decide).
    """

    path: Path
    feeds: tuple[str, ...]
    member: str = ""

    @property
    def name(self) -> str:
        """How the file is called in reports and errors: orders.csv, or orders.zip/2026/orders.csv."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes. InputError when they cannot be read."""
        try:
            with archive.open_member(self.path, self.member) if self.member else self.path.open("rb") as handle:
                yield handle
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}; check its permissions") from None

    def measure(self) -> tuple[str, int]:
        """SHA-256 and number of its bytes, those of the member for a member: packed or not, it is the same file."""
        digest, size = hashlib.sha256(), 0
        with self.open() as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
                size += len(block)
        return digest.hexdigest(), size

    @contextmanager
    def steady(self) -> Iterator[None]:
        """InputError when the file grew, shrank, was written to or replaced within; whatever else went wrong is then
        the consequence.
        """
        before = _state(self.path)
        try:
            yield
        except InputError:
            if _state(self.path) == before:
                raise
        if _state(self.path) != before:
            raise InputError(f"{self.name} changed while it was being read; load it when it is complete")


def _state(path: Path) -> tuple[int, ...]:
    try:
        now = path.stat()
    except OSError:
        return ()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def find(settings: SourceSettings, paths: Sequence[Path]) -> tuple[list[Found], list[str]]:
    """The files below `paths`, each once, sorted by name, and the names of those in folders that no feed
    takes.

    InputError where a path does not exist, is neither file nor folder, or nothing is left to load.
    """
    if not paths:
        raise InputError(f"no file was named for source '{settings.source}'; name files or a folder")
    found: dict[tuple[Path, str], Found] = {}
    ignored: list[str] = []
    for path in paths:
        _add(settings, Path(path), found, ignored)
    if not found:
        patterns = ", ".join(pattern for feed in settings.feeds.values() for pattern in feed.match) or "none"
        raise InputError(
            f"no file in {', '.join(str(path) for path in paths)} is one of source '{settings.source}'; "
            f"its patterns are: {patterns}; name the file itself to load it whatever it is called"
        )
    return sorted(found.values(), key=lambda item: (item.name, str(item.path))), sorted(ignored)


def _add(settings: SourceSettings, path: Path, found: dict[tuple[Path, str], Found], ignored: list[str]) -> None:
    try:
        if path.is_dir():
            for child in sorted(path.iterdir()):
                if child.name.startswith((".", "~$")) or not child.is_file():
                    continue
                for item in _opened(settings, child):
                    if item.feeds:
                        found[child.resolve(), item.member] = item
                    else:
                        ignored.append(item.name)
        elif path.is_file():
            items = _opened(settings, path)
            # of an archive that was named, files that no feed's name takes count only where none is taken
            fit = [item for item in items if item.feeds] or items
            ignored += [item.name for item in items if item not in fit]
            found |= {(path.resolve(), item.member): item for item in fit}
        elif path.exists():
            raise InputError(f"{path} is neither a file nor a folder; name a CSV, Parquet or XLSX file")
        else:
            raise InputError(f"{path} does not exist; check the name and the folder you are in")
    except OSError as error:
        raise InputError(f"{path} cannot be looked at: {error.strerror}; check its permissions") from None


def _opened(settings: SourceSettings, path: Path) -> list[Found]:
    """The file itself, or the files of an archive."""
    if path.suffix.lower() != ".zip":
        return [Found(path, fitting(settings, path.name))]
    return [Found(path, fitting(settings, Path(name).name), name) for name in archive.members(path)]


def fitting(settings: SourceSettings, name: str) -> tuple[str, ...]:
    """Feeds one of whose patterns fits the file name; where several do, those with the longest fitting
    pattern.
    """
    shown = unicodedata.normalize("NFC", name)
    lengths = {feed: _longest(shown, options) for feed, options in settings.feeds.items()}
    longest = max(lengths.values(), default=0)
    return tuple(feed for feed, length in lengths.items() if length == longest > 0)


def _longest(name: str, feed: FeedSettings) -> int:
    patterns = (unicodedata.normalize("NFC", pattern) for pattern in feed.match)
    return max((len(pattern) for pattern in patterns if fnmatchcase(name, pattern)), default=0)
