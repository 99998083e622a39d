"""What tags look at: the features, and beside them scores of models, uploaded lists, events, segments and what was said before."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from crm_core import measures
from crm_core.config.tags import Tag, TagSettings
from crm_core.errors import InputError
from crm_core.schema.expressions import names_in
from crm_core.store import Tables

WHERE = "conf/tags.yml"
SCORES = {"score": "float64", "low": "float64", "high": "float64", "label": "string"}
LISTED = {"value": "string", "listed_on": "date"}


@dataclass(frozen=True)
class Sources:
    """Where the inputs that are no features come from; what is None is unknown for everybody.

    `scores`: as `member_scores`; `lists`: tag, member_id, value, listed_on; `tables` for events and stored segments;
    `segments`: member_id, scheme, segment of the day; `earlier`: wide, what the tags that are kept said when they were last
    published; `known`: the segments that conf defines.
    """

    scores: ir.Table | None = None
    lists: ir.Table | None = None
    tables: Tables | None = None
    segments: ir.Table | None = None
    earlier: ir.Table | None = None
    known: Collection[str] = ()


def inputs(features: ir.Table, settings: TagSettings, sources: Sources | None = None) -> ir.Table:
    """`features` with every further column that the tags of `settings` ask for, in one join for each kind of source."""
    found = sources or Sources()
    asked = [pair for name, tag in settings.tags.items() for pair in texts(name, tag)]
    rows = measures.prepare(features, asked, found.tables, today=found.segments, known=found.known)
    models = sorted({tag.model for tag in settings.tags.values() if tag.model})
    if models:
        rows = _beside(rows, found.scores, "model", {model: _score_columns(model) for model in models}, SCORES)
    lists = [name for name, tag in settings.tags.items() if tag.kind == "list"]
    if lists:
        rows = _beside(
            rows, found.lists, "tag", {name: {part: list_column(name, part) for part in LISTED} for name in lists}, LISTED
        )
    return _kept(rows, settings, found.earlier)


def texts(name: str, tag: Tag) -> Iterator[tuple[str, str]]:
    """(place for errors, expression) of each expression of a tag."""
    where = f"{WHERE}, tag '{name}'"
    if tag.when or tag.value:
        yield where, tag.when or tag.value or ""
    for case in tag.cases:
        yield f"{where}, case '{case.value}'", case.when


def asked_of(name: str, tag: Tag, table: ir.Table) -> list[str]:
    """The columns of `table` that a tag looks at, by name."""
    found = [each for where, text in texts(name, tag) for each in sorted(names_in(text, where))]
    return [each for each in dict.fromkeys(found) if each in table.columns]


def list_column(name: str, part: str = "value") -> str:
    """The column of `inputs` that holds an uploaded list."""
    return f"_list {name} {part}"


def kept_column(name: str) -> str:
    """The column of `inputs` that holds what a tag said before."""
    return f"_before {name}"


def check_models(settings: TagSettings) -> None:
    """InputError where a tag of kind model looks at no score of its model."""
    for name, tag in settings.tags.items():
        wanted = set(_score_columns(tag.model).values())
        if tag.model and not any(wanted & names_in(text, where) for where, text in texts(name, tag)):
            raise InputError(
                f"{WHERE}, tag '{name}': it is of model '{tag.model}' but asks for none of {', '.join(sorted(wanted))}"
            )


def _score_columns(model: str) -> dict[str, str]:
    return {part: f"{model}_{part}" for part in SCORES}


def _beside(
    rows: ir.Table, source: ir.Table | None, key: str, wanted: dict[str, dict[str, str]], types: dict[str, str]
) -> ir.Table:
    """`rows` with the columns of `source` (member_id, `key`, …), one set for each of the `wanted` values of `key`."""
    columns = [(value, part, name) for value, names in wanted.items() for part, name in names.items()]
    if source is None:
        return rows.mutate(**{name: ibis.null(types[part]) for _, part, name in columns})
    some = source.filter(source[key].isin(list(wanted)))
    found = {name: some[part].max(where=some[key] == value).cast(types[part]) for value, part, name in columns}
    return measures.beside(rows, some.group_by("member_id").agg(**found))


def _kept(rows: ir.Table, settings: TagSettings, earlier: ir.Table | None) -> ir.Table:
    names = [name for name, tag in settings.tags.items() if tag.update == "keep"]
    there = [name for name in names if earlier is not None and name in earlier.columns]
    if earlier is not None and there:
        rows = measures.beside(rows, earlier.select("member_id", **{kept_column(name): earlier[name] for name in there}))
    return rows.mutate(**{kept_column(name): ibis.null() for name in names if name not in there}) if names else rows
