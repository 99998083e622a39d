"""Files of one JSON object a line (web and app events): keys as headings, nested ones with dots, read by the engine.

A line is parsed once for all its fields. A value that is itself an object or a list is a cell of JSON text; null and
a missing key are empty cells. A line that is no JSON object is malformed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt

from crm_core.errors import InputError

LINES: dict[str, Any] = {"delim": "\x01", "quote": "", "escape": "", "columns": {"line": "VARCHAR"}}
"""How the engine's CSV reader takes whole lines: JSON writes control characters as escapes, so none splits a line."""
HEADINGS = ("JSON",)
"""What stands in the place of the headings of a file of which each line names its own."""
REASON = "the line is not one JSON object"


@ibis.udf.scalar.builtin(name="json_valid")
def _valid(text: str) -> bool: ...


@ibis.udf.scalar.builtin(name="json_type")
def _type(text: str) -> str: ...


@ibis.udf.scalar.builtin(name="json_extract_string", signature=(("string", "array<string>"), "array<string>"))
def _texts(text: Any, pointers: Any) -> Any: ...


@ibis.udf.scalar.builtin(name="json_extract_string")
def _text(text: str, path: str) -> str: ...


@ibis.udf.agg.builtin(name="json_group_structure")
def _structure(text: dt.json) -> str: ...


def is_object(line: Any) -> Any:
    """Whether a line is one JSON object."""
    return ibis.ifelse(_valid(line), _type(line) == "OBJECT", False).fill_null(False)


def keys(engine: Any, copy: Path, name: str, limit: int) -> dict[str, str]:
    """Heading → JSON pointer of every key that an object of the file at `copy` has, in the order of their first
    mention; InputError where no line is an object.
    """
    lines = engine.read_csv([str(copy)], auto_detect=False, header=False, ignore_errors=True, max_line_size=limit, **LINES)
    objects = lines.mutate(_good=is_object(lines.line)).filter(lambda t: t._good)
    found = objects.agg(structure=_structure(objects.line.cast("json"))).to_pyarrow()["structure"][0].as_py()
    structure = json.loads(found or "null")
    if not isinstance(structure, dict):  # of objects without a key the engine says 'JSON'
        raise InputError(f"{name} holds no JSON object with a key in any line; one object a line is expected")
    return dict(_paths(structure, (), ""))


def _paths(structure: Mapping[str, Any], above: Sequence[str], pointer: str) -> Iterator[tuple[str, str]]:
    for key, inner in structure.items():
        place = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        if isinstance(inner, dict) and inner:
            yield from _paths(inner, (*above, key), place)
        else:
            yield ".".join((*above, key)), place


def cells(line: Any, pointers: Mapping[str, str]) -> dict[str, Any]:
    """Field → its text in a line, for fields and their JSON pointers; null for a line that is no object."""
    texts = _texts(is_object(line).ifelse(line, None), ibis.array([ibis.literal(value) for value in pointers.values()]))
    return {field: texts[place] for place, field in enumerate(pointers)}


def unescaped(line: Any) -> Any:
    """A line of JSON, whole or cut off, with its escapes read and commas for its quotation marks; as it stands where it is
    none.
    """
    apart = line.re_replace(r'[\x00-\x1f]|\\*"|\\u?[0-9a-fA-F]{0,3}$', ",")
    text = ibis.literal('"') + apart.re_replace(r"\\+(u[0-9a-fA-F]{4})", r"\\\1") + '"'
    return _text(_valid(text).ifelse(text, None), "$").fill_null(line)


def values(line: str) -> dict[str, str]:
    """Heading → text of each value in one line, as `keys` names them; empty for a line that is no object."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return dict(_leaves(record, "")) if isinstance(record, dict) else {}


def _leaves(record: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    for key, inner in record.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(inner)
