"""Which files a call names, and which feed each belongs to: by name pattern where a folder is given, else
also by headings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from crm_core.config.sources import FeedSettings, SourceSettings
from crm_core.errors import InputError


@dataclass(frozen=True)
class Found:
    """A file to load and the feeds that its name fits (several or none: its headings decide)."""

    path: Path
    feeds: tuple[str, ...]


def find(settings: SourceSettings, paths: Sequence[Path]) -> tuple[list[Found], list[str]]:
    """The files below `paths`, each once, sorted by name, and the names of those in folders that no feed
    takes.

    InputError where a path does not exist, is neither file nor folder, or nothing is left to load.
    """
    if not paths:
        raise InputError(f"no file was named for source '{settings.source}'; name files or a folder")
    found: dict[Path, Found] = {}
    ignored: list[str] = []
    for path in paths:
        _add(settings, Path(path), found, ignored)
    if not found:
        patterns = ", ".join(pattern for feed in settings.feeds.values() for pattern in feed.match) or "none"
        raise InputError(
            f"no file in {', '.join(str(path) for path in paths)} is one of source '{settings.source}'; "
            f"its patterns are: {patterns}; name the file itself to load it whatever it is called"
        )
    return sorted(found.values(), key=lambda item: (item.path.name, str(item.path))), sorted(ignored)


def _add(settings: SourceSettings, path: Path, found: dict[Path, Found], ignored: list[str]) -> None:
    try:
        if path.is_dir():
            for child in sorted(path.iterdir()):
                feeds = fitting(settings, child.name)
                if child.name.startswith((".", "~$")) or not child.is_file():
                    continue
                if feeds:
                    found[child.resolve()] = Found(child, feeds)
                else:
                    ignored.append(child.name)
        elif path.is_file():
            found[path.resolve()] = Found(path, fitting(settings, path.name))
        elif path.exists():
            raise InputError(f"{path} is neither a file nor a folder; name a CSV, Parquet or XLSX file")
        else:
            raise InputError(f"{path} does not exist; check the name and the folder you are in")
    except OSError as error:
        raise InputError(f"{path} cannot be looked at: {error.strerror}; check its permissions") from None


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
