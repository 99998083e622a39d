"""A draft of conf/sources/NAME.yml for a file nobody described yet, for a person to finish.

The sources that are there already are the dictionary: a feed that the file fits gives its whole definition; otherwise
each known heading gives its field, and columns of tables that known fields fill elsewhere are filled here. What only
the cells tell is a guess and marked TODO. No cell is shown, only shapes such as 9999-99-99.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crm_core.config import Config, parse_yaml
from crm_core.config.sources import FeedSettings, FieldSettings, SourceSettings
from crm_core.errors import InputError
from crm_core.ingest.casts import TEXTS
from crm_core.ingest.expressions import private_fields
from crm_core.ingest.guessing import Column, Looked, look
from crm_core.ingest.headings import match, plain
from crm_core.ingest.load import context_of, workspace_of
from crm_core.ingest.mapping import check_source
from crm_core.schema import LOAD, TABLES
from crm_core.store import Lake, now

FILLERS = {"discount_amount": "0", "shipping_amount": "0", "quantity": "1", "date_assumed": "false", "kind": "'refund'"}
"""What columns that must have a value hold in a draft, where no heading gives it."""


@dataclass(frozen=True)
class Draft:
    """The text of a source; `like` names the source and feed that the file fits ('' where none does), `known` and
    `guessed` the headings by where their fields come from, `table` what the rows were taken for.
    """

    name: str
    text: str
    like: str
    known: tuple[str, ...]
    guessed: tuple[str, ...]
    table: str


def suggest(config: Config, lake: Lake, path: Path, name: str = "") -> Draft:
    """Drafts a source called `name` (default: after the file) for the file at `path`; the draft compiles.

    InputError where the file cannot be read or the name is taken or none.
    """
    name = name or _name_of(path)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in config.source_names():
        raise InputError(
            f"'{name}' cannot be the source's name: it begins with a letter, has letters, digits and _ only, and is not "
            f"one that conf/sources/ has already; choose one with --name"
        )
    if not path.is_file():
        raise InputError(f"{path} is not a file; name one CSV, JSON lines, XLSX or Parquet file")
    nobody = SourceSettings(source=name, feeds={"rows": FeedSettings(fields={"x": FieldSettings(heading="x")})})
    known = {source: config.source(source) for source in config.source_names()}
    with workspace_of(lake) as work:
        looked = look(lake.engine, nobody, path, work, config.project.zone)
        draft = _like(known, looked, path, name)
        if draft is not None:
            _compile(config, lake, draft)
            return draft
        columns = looked.columns()
    draft = _guess(known, looked, columns, path, name)
    try:
        _compile(config, lake, draft)
    except InputError:  # a mapping that does not hold here is left to the person
        draft = _guess(known, looked, columns, path, name, mapped=False)
        _compile(config, lake, draft)
    return draft


def _compile(config: Config, lake: Lake, draft: Draft) -> None:
    parse_yaml(draft.text, SourceSettings, f"the draft of conf/sources/{draft.name}.yml")
    whole = Config({**config.texts(), f"sources/{draft.name}.yml": draft.text})
    check_source(context_of(whole, lake, draft.name, now()))


def _name_of(path: Path) -> str:
    words = re.findall(r"[a-z]+", path.name.split(".")[0].lower())
    return "_".join(words) or "new_source"


def _like(known: Mapping[str, SourceSettings], looked: Looked, path: Path, name: str) -> Draft | None:
    """The definition of the feed that the file fits best, where one reads at least half of its headings."""
    headings = [heading.split("#")[0] for heading in looked.headings.values()]
    best: tuple[int, str, str] = (0, "", "")
    for source, settings in known.items():
        for feed, options in settings.feeds.items():
            given = options.reader.headings
            fit = match(options, given if looked.headless and len(given) == len(headings) else headings)
            if not fit.problems and not (looked.headless and not given) and len(fit.positions) > best[0]:
                best = (len(fit.positions), source, feed)
    score, source, feed = best
    if score < max(2, len(headings) / 2):
        return None
    settings = known[source]
    options = settings.feeds[feed]
    unread = match(options, headings).unknown if not looked.headless else ()
    lines = [
        f"# Drafted from {path.name}: it fits feed '{feed}' of source '{source}', whose definition this is.",
        f"# If it is another shop's file of that kind, keep this one; else load it as it is: crm ingest {source} FILE",
        *_head(name, settings.model_dump(exclude_defaults=True, exclude={"source", "title", "feeds", "database"})),
        f"  {feed}:",
        *_yaml({**options.model_dump(exclude_defaults=True), "match": [_pattern(path)]}, 2),
    ]
    lines += [f"    # heading that no field reads: {heading}" for heading in unread]
    return Draft(name, "\n".join(lines) + "\n", f"{source}.{feed}", tuple(headings), tuple(unread), feed)


def _guess(
    known: Mapping[str, SourceSettings], looked: Looked, columns: Sequence[Column], path: Path, name: str, mapped: bool = True
) -> Draft:
    fields: dict[str, tuple[FieldSettings, str]] = {}
    found: list[str] = []
    votes: dict[str, dict[str, str]] = {}
    for place, column in enumerate(columns, 1):
        origin = _origin(known, column)
        if origin is not None:
            field, settings, source, feed = origin
            # a phone is private there because `contacts` names it, and here nothing does yet
            private = column.private or field in private_fields(known[source], known[source].feeds[feed])
            own = {"heading": column.heading, "aliases": (), "required": False, "filled": False, "private": private}
            spelled = settings.model_copy(update=own)
            field = _unused(field, fields)
            fields[field] = (spelled, f"as {source}.{feed} has it")
            found.append(column.heading)
            for table, target, text in _columns_of(known[source].feeds[feed], origin[0]):
                votes.setdefault(table, {}).setdefault(target, text.replace(origin[0], field))
        else:
            made = FieldSettings.model_validate({name: getattr(column, name) for name in ("heading", "type", "formats", "private")})
            why = f"TODO a guess: cells look like {column.shape or '(empty)'}"
            fields[_unused(_slug(column.heading, place), fields)] = (made, why)
    table = _best_table(votes) if mapped else ""
    feed = table or "rows"
    lines = [
        f"# Drafted from {path.name}; look at every TODO, then try it: crm ingest {name} FILE --dry-run",
        *_head(name, {}),
        f"  {feed}:",
        f"    match: {_flow([_pattern(path)])}",
    ]
    if looked.headless:
        lines.append(f"    reader: {_flow({'headings': list(looked.headings.values())})}")
    lines.append("    fields:")
    lines += [
        f"      {field}: {_flow(settings.model_dump(exclude_defaults=True))}  # {why}" for field, (settings, why) in fields.items()
    ]
    lines += _tables(table, votes.get(table, {}), {field: settings for field, (settings, _) in fields.items()})
    guessed = tuple(column.heading for column in columns if column.heading not in found)
    return Draft(name, "\n".join(lines) + "\n", "", tuple(found), guessed, table)


def _tables(table: str, columns: Mapping[str, str], fields: Mapping[str, FieldSettings]) -> list[str]:
    if not table:
        return [f"    # TODO tables: what a row becomes ({', '.join(TABLES)})", *_example(fields)]
    schema = TABLES[table]
    fillers = {"gross_amount": columns.get("net_amount"), "net_amount": columns.get("gross_amount"), **FILLERS}
    filled = {
        column.name: text
        for column in schema.columns
        if not column.nullable and column.name not in columns and (text := fillers.get(column.name))
    }
    given = {*columns, *filled, *(column.name for column in LOAD)}
    rest = [column.name for column in schema.columns if column.name not in given]
    return [
        "    tables:",
        f"      {table}:  # TODO is a row one of these?",
        "        columns:",
        *(f"          {target}: {text}" for target, text in columns.items()),
        *(f"          {target}: {text}  # TODO a guess: each row must have a value" for target, text in filled.items()),
        f"          # TODO the others, where the file knows them: {', '.join(rest)}",
        "    # TODO contacts: whose phone, e-mail and name these are; balance: sums that must come back",
    ]


def _example(fields: Mapping[str, FieldSettings]) -> list[str]:
    """How orders would be made of `fields`, as a comment."""

    def first(*wanted: str) -> str:
        return next((name for name, each in fields.items() if ("private" if each.private else each.type) in wanted), "FIELD")

    columns = {
        "order_id": first(*TEXTS), "member_id": f"account({first('private')})", "ordered_at": first("time", "date"),
        "gross_amount": first("money"), "discount_amount": 0, "shipping_amount": 0, "net_amount": first("money"),
    }  # fmt: skip
    lines = ["tables:", "  orders:", "    columns:", *(f"      {name}: {text}" for name, text in columns.items())]
    return ["    # were each row an order, with nothing off and no shipping:", *(f"    # {line}" for line in lines)]


def _origin(known: Mapping[str, SourceSettings], column: Column) -> tuple[str, FieldSettings, str, str] | None:
    """The field that most sources have for a heading: its name, settings, source and feed."""
    fits = [
        (field, settings, source, feed)
        for source, each in known.items()
        for feed, options in each.feeds.items()
        for field, settings in options.fields.items()
        if plain(column.heading) in map(plain, settings.headings)
        and (settings.type in TEXTS or not column.filled or settings.type == column.type or settings.values)
    ]
    if not fits:
        return None
    often = Counter(field for field, *_ in fits)
    return max(fits, key=lambda fit: (often[fit[0]], fit[1].private))


def _columns_of(feed: FeedSettings, field: str) -> list[tuple[str, str, str]]:
    """Where a feed writes a field as it is, or as an account: table, column, expression."""
    return [
        (settings.table or entry, column, str(text))
        for entry, settings in feed.tables.items()
        for column, text in settings.columns.items()
        if not settings.per and str(text) in (field, f"account({field})")
    ]


def _best_table(votes: Mapping[str, Mapping[str, str]]) -> str:
    """The table with most columns among those whose key is there."""
    whole = {name: len(columns) for name, columns in votes.items() if set(TABLES[name].key) <= set(columns)}
    return max(whole, key=lambda name: whole[name], default="")


def _slug(heading: str, place: int) -> str:
    words = "_".join(re.findall(r"[a-z0-9]+", heading.lower()))
    return words if words.isidentifier() else f"column_{place}"


def _unused(field: str, fields: Mapping[str, Any]) -> str:
    place = 2
    wanted = field
    while field in fields:
        field, place = f"{wanted}_{place}", place + 1
    return field


def _pattern(path: Path) -> str:
    stem, *ends = path.name.split(".")
    return ".".join([re.sub(r"[\d_-]*\d[\d_-]*", "*", stem).rstrip("*") + "*", *ends])


def _head(name: str, more: Mapping[str, Any]) -> list[str]:
    title = {"en": name.replace("_", " "), "zh": name.replace("_", " ")}
    return [f"source: {name}", f"title: {_flow(title)}  # TODO", *_yaml(more, 0, nested=False), "feeds:"]


def _yaml(value: Mapping[str, Any], depth: int, nested: bool = True) -> list[str]:
    """Settings as YAML: fields and everything small on one line each."""
    lines: list[str] = []
    for key, item in value.items():
        pad = "  " * depth
        deep = isinstance(item, Mapping) and (key == "columns" or any(isinstance(each, Mapping) for each in item.values()))
        if nested and deep:
            lines += [f"{pad}{key}:", *_yaml(item, depth + 1)]
        elif isinstance(item, Sequence) and item and not isinstance(item, str) and isinstance(item[0], Mapping):
            lines += [f"{pad}{key}:", *(f"{pad}  - {_flow(each)}" for each in item)]
        else:
            lines.append(f"{pad}{key}: {_flow(item)}")
    return lines


def _flow(value: Any) -> str:
    """A value on one line; JSON is YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _key(key: Any) -> str:
    return (
        str(key) if re.fullmatch(r"[a-z_][a-z0-9_]*", str(key)) and key not in ("y", "n", "yes", "no", "on", "off") else _flow(key)
    )
