"""What a file nobody described holds: its headings, and for each column the type that its cells have and their shape.

Only shapes are told, never cells: `1380013****` comes out as 99999999999.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from crm_core.config.sources import FieldSettings, ReaderSettings, SourceSettings
from crm_core.errors import InputError
from crm_core.ingest import casts
from crm_core.ingest.detect import detect
from crm_core.ingest.files import Found
from crm_core.ingest.headings import PERSONAL, Headings, plain
from crm_core.ingest.opening import Opened, Opening, on_disk
from crm_core.ingest.reader import read_batch, whole

SAMPLE = 10_000
FEED = "rows"
IDENTIFIER = re.compile(r"号|编码|编号|(^|[^a-z])id$|_id$|code|sku|no\.?$|phone|mobile|电话|手机", re.I)
MONEY = re.compile(r"金额|价|费|款|余额|amount|price|total|paid|cost|fee|discount", re.I)
MOMENT = re.compile(r"时间|日期|time|date|stamp|(^|_)(at|ts)$", re.I)
_CANDIDATES: dict[str, FieldSettings] = {
    "date": FieldSettings(heading="x", type="date", future=True),
    "time": FieldSettings(heading="x", type="time", future=True),
    "epoch_s": FieldSettings(heading="x", type="time", formats=("epoch_s",), future=True),
    "epoch_ms": FieldSettings(heading="x", type="time", formats=("epoch_ms",), future=True),
    "integer": FieldSettings(heading="x", type="integer"),
    "money": FieldSettings(heading="x", type="money"),
    "price": FieldSettings(heading="x", type="price"),
    "flag": FieldSettings(heading="x", type="flag"),
}


@dataclass(frozen=True)
class Column:
    """One column: its heading (`#2` where it stands there before), guessed type and formats, the shape of a cell."""

    heading: str
    type: str
    formats: tuple[str, ...]
    shape: str
    filled: int
    rows: int
    private: bool


@dataclass(frozen=True)
class Looked:
    """A file as it lies there, while its copy does. `headless`: its first row is no row of headings, so `headings`
    were made up. `raw`: its rows as text, a column c0, c1 … for each heading.
    """

    headless: bool
    headings: dict[str, str]
    raw: Any
    zone: ZoneInfo

    def columns(self) -> tuple[Column, ...]:
        """What the first rows say about each column."""
        return _judged(self.raw.limit(SAMPLE), self.headings, self.zone)


class _Any(Opening):
    """Takes every column of a file."""

    def _choose(self, headings: Any) -> tuple[str, Headings]:
        positions = {f"c{place}": place for place, name in enumerate(headings) if plain(name)}
        if not positions:
            raise InputError(f"{self.name} has no headings that could be read")
        return FEED, Headings(positions, {name: headings[at] for name, at in positions.items()}, (), (), ())


def look(engine: Any, settings: SourceSettings, path: Path, work: Path, zone: ZoneInfo) -> Looked:
    """Opens a file into the folder `work`. InputError where it is damaged, foreign or blank."""
    opened = _opened(engine, settings, path, work / "look", ReaderSettings())
    headless = any(re.fullmatch(r"-?\d[\d.,:/ T-]*", plain(name)) for name in opened.all_headings)
    if headless:
        given = tuple(f"column_{place + 1}" for place in range(len(opened.all_headings)))
        opened = _opened(engine, settings, path, work / "look_again", ReaderSettings(headings=given))
    batch = whole(engine, read_batch(engine, f"{work.name}_look", [opened], work), work)
    names = _numbered([opened.all_headings[at] for at in opened.headings.positions.values()])
    return Looked(headless, dict(zip(opened.headings.positions, names, strict=True)), batch.lines, zone)


def _opened(engine: Any, settings: SourceSettings, path: Path, copy: Path, options: ReaderSettings) -> Opened:
    item = Found(path, (FEED,))
    disk = on_disk(item, copy)
    detect(disk, name=item.name)
    return _Any(engine, settings, (FEED,), item.name, disk, "", 0, copy).opened(options)


def _numbered(headings: list[str]) -> list[str]:
    """Headings as a source names them: the second of the same is `heading#2`."""
    seen: dict[str, int] = {}
    several = {name for name in map(plain, headings) if list(map(plain, headings)).count(name) > 1}
    found = []
    for heading in map(plain, headings):
        seen[heading] = seen.get(heading, 0) + 1
        found.append(f"{heading}#{seen[heading]}" if heading in several else heading)
    return found


def _judged(raw: Any, headings: dict[str, str], zone: ZoneInfo) -> tuple[Column, ...]:
    texts = raw.select(**{name: casts.cell(raw[name], ("", "NULL", "-")) for name in headings})
    told: dict[str, Any] = {"rows": texts.count()}
    for name in headings:
        text = texts[name]
        told[f"{name}_filled"] = text.count()
        told[f"{name}_shape"] = shape(text).mode()
        told[f"{name}_mail"] = text.re_search(r"^[^@\s]+@[^@\s]+\.[a-z]+$").sum()
        told[f"{name}_phone"] = text.re_search(r"^'?(\+?86[- ]?)?1[3-9][\d*]{9}$").sum()
        told[f"{name}_long"] = text.re_search(r"^(0\d+|\d{11,})$").sum()
        for kind, field in _CANDIDATES.items():
            value = casts.typed(text, field, zone, False, casts.local_time(text, field))
            told[f"{name}_{kind}"] = value.count()
    facts = texts.agg(**told).to_pyarrow().to_pylist()[0]
    return tuple(_column(facts, name, heading) for name, heading in headings.items())


def _column(facts: dict[str, Any], name: str, heading: str) -> Column:
    filled = int(facts[f"{name}_filled"])
    fits = {kind for kind in _CANDIDATES if filled and facts[f"{name}_{kind}"] >= 0.98 * filled}
    contact = any((facts[f"{name}_{kind}"] or 0) > 0.3 * filled for kind in ("mail", "phone"))
    private = contact or bool(PERSONAL.search(heading) or re.search("name$", heading, re.I))
    long, kind = bool(facts[f"{name}_long"]), "text"
    formats: tuple[str, ...] = ()
    if contact or not fits:
        kind = "text"
    elif "date" in fits or "time" in fits:
        kind = "date" if "date" in fits else "time"
    elif MOMENT.search(heading) and {"epoch_s", "epoch_ms"} & fits and re.fullmatch(r"9{10}|9{13}", facts[f"{name}_shape"]):
        kind, formats = "time", ("epoch_s",) if len(facts[f"{name}_shape"]) == 10 else ("epoch_ms",)
    elif IDENTIFIER.search(heading) or long:
        kind = "text"
    elif MONEY.search(heading) and {"money", "price"} & fits:
        kind = "money" if "money" in fits else "price"
    else:
        whole = "." not in (facts[f"{name}_shape"] or "")  # 12.00 is a whole number, but hardly meant as one
        kinds = (*(("integer",) if whole else ()), "money", "price", "flag")
        kind = next((each for each in kinds if each in fits), "text")
    return Column(heading, kind, formats, facts[f"{name}_shape"] or "", filled, int(facts["rows"]), private)


def shape(text: Any) -> Any:
    """A cell with every digit as 9, every Latin letter as a and every other letter as 字; at most 30 characters."""
    bare = text.re_replace(r"\d", "9").re_replace(r"[A-Za-z]", "a").re_replace(r"[^\x00-\x7f]", "字")
    return bare.substr(0, 30)
