"""A source's folder of the inbox taken in: files at rest are loaded, and what is in the lake leaves the folder.

A file goes only once its load is published, and only while its bytes are those that were loaded: a kill in between
leaves the file, which the next run knows by its hash and removes. What cannot be loaded stays and stops no other file.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from crm_core.config import Config
from crm_core.config.sources import InboxSettings, SourceSettings
from crm_core.errors import InputError
from crm_core.ingest.files import Found, find
from crm_core.ingest.load import ingest
from crm_core.ingest.report import LoadReport
from crm_core.store import Lake, Vault

UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".crdownload", ".download", ".!qb")
"""Endings that programs give a file while they write it."""
TAKEN = ".taken_"


@dataclass(frozen=True)
class InboxReport:
    """What became of a source's folder: its loads, files that stay with the reason, files that went."""

    source: str
    loads: tuple[LoadReport, ...] = ()
    left: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    def total(self, what: str) -> int:
        """Sum over the loads of `read`, `accepted`, `duplicate` or `rejected`."""
        return sum(int(getattr(load, what)) for load in self.loads)


def take_in(config: Config, lake: Lake, vault: Vault, source: str, folder: Path, *, actor: str = "crm") -> InboxReport:
    """Loads the files at rest in `folder` as `source` says in `inbox`, and removes those that are in the lake whole.

    A file that cannot be loaded is told in `problems`, and the others are then loaded one by one. RunFailed where
    the disk, memory or lease is.
    """
    settings = config.source(source)
    ready, left = at_rest(folder, settings.inbox)
    fitting, strange, problems = _fitting(settings, ready)
    left |= {path.name: "no feed of this source takes a file of this name" for path in strange}
    loads: list[LoadReport] = []
    try:
        if fitting:
            loads.append(ingest(config, lake, vault, source, fitting, actor=actor))
    except InputError as error:
        if len(fitting) == 1:
            problems[fitting[0].name] = str(error)
        for path in fitting if len(fitting) > 1 else ():
            try:
                loads.append(ingest(config, lake, vault, source, [path], actor=actor))
            except InputError as one:
                problems[path.name] = str(one)
    removed = []
    if settings.inbox.after == "delete":
        for path in fitting:
            if path.name not in problems and (report := _report_of(path, loads)) is not None:
                reason = remove(settings, path, report)
                removed += [] if reason else [path.name]
                left |= {path.name: reason} if reason else {}
    return InboxReport(source, tuple(loads), left, problems, tuple(removed))


def at_rest(folder: Path, settings: InboxSettings) -> tuple[list[Path], dict[str, str]]:
    """Files of `folder` that nobody writes to any more, and the others by name with the reason why they are left.

    Files that were written to just now are looked at again after `settle_seconds`.
    """
    _put_back(folder)
    waiting: dict[Path, os.stat_result] = {}
    left: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "~$")):
            continue
        try:
            found = path.stat()
        except OSError:
            left[path.name] = "cannot be looked at"
            continue
        if not stat.S_ISREG(found.st_mode):
            left[path.name] = "not a file; files lie in the source's folder itself"
        elif path.name.lower().endswith(UNFINISHED):
            left[path.name] = "unfinished by its name"
        elif not any(fnmatchcase(path.name, pattern) for pattern in settings.match):
            left[path.name] = f"inbox.match takes {', '.join(settings.match)}"
        else:
            waiting[path] = found
    newest = max((found.st_mtime for found in waiting.values()), default=0.0)
    if newest > time.time() - settings.settle_seconds:
        time.sleep(settings.settle_seconds)
    written_to = _open_for_writing({(found.st_dev, found.st_ino) for found in waiting.values()})
    for path, before in waiting.items():
        if not path.exists() or _mark(path.stat()) != _mark(before):
            left[path.name] = "still being written to"
        elif (before.st_dev, before.st_ino) in written_to:
            left[path.name] = "another program has it open to write"
    return [path for path in waiting if path.name not in left], left


def remove(settings: SourceSettings, path: Path, report: LoadReport) -> str:
    """Removes a loaded file; returns '' or why it stays: part of it was not loaded, or it is no longer what was."""
    if any(name.startswith(f"{path.name}/") for name in report.ignored):
        return "part of the archive belongs to no feed"
    if sheets := _not_read(settings, path, report):
        return f"not read: sheet{'s' * (len(sheets) > 1)} {', '.join(sheets)}; reader.sheet says which one is to be"
    loaded = {file.sha256 for file in report.files}
    taken = path.with_name(f"{TAKEN}{path.name}")
    path.rename(taken)  # whoever writes a new file of this name from now on writes another one
    items, _ = find(settings, [taken])
    if all(Found(taken, (), item.member).measure()[0] in loaded for item in items):
        taken.unlink()
        return ""
    _put_back(path.parent)
    return "it changed after it was loaded"


def _put_back(folder: Path) -> None:
    """Gives files that were on their way out their names again; a newer file of that name keeps it."""
    for taken in folder.glob(f"{TAKEN}*"):
        name = taken.name.removeprefix(TAKEN)
        place = folder / (f"{taken.stat().st_mtime_ns}_{name}" if (folder / name).exists() else name)
        taken.rename(place)


def _fitting(settings: SourceSettings, paths: Iterable[Path]) -> tuple[list[Path], list[Path], dict[str, str]]:
    """Files that a feed takes by name, those that none does, and those that cannot be looked into."""
    fitting: list[Path] = []
    strange: list[Path] = []
    problems: dict[str, str] = {}
    for path in paths:
        try:
            taken = any(item.feeds for item in find(settings, [path])[0])
        except InputError as error:
            problems[path.name] = str(error)
            continue
        (fitting if taken else strange).append(path)
    return fitting, strange, problems


def _report_of(path: Path, loads: Sequence[LoadReport]) -> LoadReport | None:
    """The published load that has the file, or that found it loaded before."""
    for load in loads:
        if any(_is_of(file.name, path) for file in load.files) and not load.dry_run:
            return load
    return None


def _is_of(name: str, path: Path) -> bool:
    return name == path.name or name.startswith(f"{path.name}/")


def _not_read(settings: SourceSettings, path: Path, report: LoadReport) -> list[str]:
    """The sheets of a workbook that say something and that nobody chose to leave out."""
    files = [file for file in report.files if _is_of(file.name, path)]
    chosen = {name for name, feed in settings.feeds.items() if feed.reader.sheet}
    return sorted({sheet for file in files if file.feed not in chosen for sheet in file.other_sheets})


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _open_for_writing(files: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Which files (device, inode) a process has open to write, as far as this system tells (Linux, own processes)."""
    found: set[tuple[int, int]] = set()
    for handle in Path("/proc").glob("[0-9]*/fd/[0-9]*") if files and Path("/proc/self/fd").is_dir() else ():
        with suppress(OSError, ValueError):
            opened = handle.stat()
            if (opened.st_dev, opened.st_ino) in files:
                lines = (handle.parent.parent / "fdinfo" / handle.name).read_text().splitlines()
                flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
                if flags & (os.O_WRONLY | os.O_RDWR):
                    found.add((opened.st_dev, opened.st_ino))
    return found
