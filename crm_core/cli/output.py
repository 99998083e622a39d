"""What commands share: the options of every line, opening the workspace, and saying results to people or programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_core.errors import InputError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from crm_core.workspace import Workspace


@dataclass
class Options:
    """The options that every command takes."""

    workspace: str = ""
    json: bool = False

    def take(self, arguments: Sequence[str]) -> list[str]:
        """Takes --workspace and --json from anywhere on the line (before a bare --) and returns the rest."""
        self.workspace, self.json = "", False
        rest: list[str] = []
        waiting = list(arguments)
        while waiting:
            word = waiting.pop(0)
            if word == "--":
                return [*rest, word, *waiting]
            if word == "--json":
                self.json = True
            elif word == "--workspace":
                if not waiting:
                    raise InputError("--workspace takes a folder; write --workspace DIR")
                self.workspace = waiting.pop(0)
            elif word.startswith("--workspace="):
                self.workspace = word.partition("=")[2]
            else:
                rest.append(word)
        return rest


options = Options()


def open_workspace(as_of: str = "", *, make: bool = False) -> Workspace:
    """The workspace that the line names. `make`: creates its folder."""
    from crm_core.workspace import Workspace

    if make and options.workspace:
        Path(options.workspace).expanduser().mkdir(parents=True, exist_ok=True)
    workspace = Workspace.open(options.workspace or None, as_of)
    covered = workspace.snapshot.covers_until if as_of and workspace.snapshot else None
    if covered and covered < workspace.as_of:
        days = (workspace.as_of - covered).days
        note(f"the data end on {covered}: as of {workspace.as_of}, nothing is known of the {days} days between")
    return workspace


def actor() -> str:
    """Who asked, for the audit trail."""
    import getpass

    try:
        return os.environ.get("CRM_ACTOR") or getpass.getuser()
    except (KeyError, OSError):
        return "crm"


def say(result: Mapping[str, Any], lines: Iterable[str]) -> None:
    """The result: as one JSON object with --json, else as lines for people."""
    if options.json:
        print(json.dumps(result, ensure_ascii=False, default=_plain))
    else:
        for line in lines:
            print(line)


def note(text: str) -> None:
    """A word on the way: stdout for people, stderr where stdout is for programs."""
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)


def fail(text: str, code: int) -> int:
    """The one clear message on stderr; returns `code`."""
    print(f"crm: {text}", file=sys.stderr)
    return code


@contextmanager
def working(text: str) -> Iterator[None]:
    """A moving sign on a terminal while work takes long; nothing elsewhere."""
    if options.json or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> list[str]:
    """Rows as aligned text; numbers to the right with thousands separators."""
    if not rows:
        return ["(none)"]
    names = list(columns or rows[0])
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    widths = [max(_width(name), *(_width(line[at]) for line in cells)) for at, name in enumerate(names)]
    right = [all(isinstance(row.get(name), int | float | Decimal) for row in rows) for name in names]
    body = [_line(line, widths, right) for line in cells]
    return [_line(names, widths, right), _line(["-" * width for width in widths], widths, right), *body]


def local(moment: datetime, zone: ZoneInfo) -> str:
    """A moment of the ledger or the lake (naive UTC) as a clock in `zone` shows it."""
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return known.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for text, width, to_right in zip(cells, widths, right, strict=True):
        blank = " " * (width - _width(text))
        padded.append(blank + text if to_right else text + blank)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float | Decimal):
        return f"{value:,.2f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return str(value)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)
