"""What parameters a notebook declares, read strictly from its cell tagged `parameters`.

papermill takes any name as code (`y=open(...) #` as a name was executed) and only warns of a misspelt one;
a second `=` on a line or a type such as `str | None` makes it lose the parameter without a word. So the
cell is parsed here, every line must be `name: type = literal  # help`, and only what it declares, in the
declared type, ever reaches papermill.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crm_core.errors import InputError, unknown

TAG = "parameters"


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: its name, type as written (`str`, `list[str]` …), default and help text."""

    name: str
    type: str
    default: Any
    help: str

    def check(self, value: Any, where: str) -> Any:
        """`value` if it has the declared type (an int is taken where a float is meant). Raises InputError."""
        if self.type == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not _FITS[self.type](value):
            raise InputError(
                f"parameter '{self.name}' of {where} takes {self.type}, found {type(value).__name__} "
                f"{_shown(value)}; its default is {self.default!r}"
            )
        return value

    def parse(self, text: str, where: str) -> Any:
        """The value that a person typed as `name=text`. Raises InputError when it is not of the declared
        type."""
        try:
            return self.check(_PARSE[self.type](text), where)
        except (ValueError, TypeError):
            raise InputError(
                f"parameter '{self.name}' of {where} takes {self.type}, found {_shown(text)}; write it like "
                f"{self.name}={_EXAMPLE[self.type]}"
            ) from None


def declared(notebook: Path | Mapping[str, Any]) -> dict[str, Parameter]:
    """The parameters of a notebook (a path, or its parsed JSON) by name, in order; empty without such a cell.

    Raises InputError naming the notebook and line for anything but one literal per line of a known type.
    """
    content, where = _content(notebook)
    cells = [cell for cell in content["cells"] if TAG in cell.get("metadata", {}).get("tags", [])]
    if not cells:
        return {}
    if len(cells) > 1:
        raise InputError(f"{where}: {len(cells)} cells are tagged 'parameters'; one is allowed")
    return _parse("".join(cells[0]["source"]), where)


def checked(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with every name declared by the notebook and every value of the declared type.

    Raises UnknownName with the nearest name, or InputError for a wrong type.
    """
    known = declared(path)
    for name in given:
        if name not in known:
            raise unknown("parameter", name, known, f"notebooks/{path.name}")
    return {name: known[name].check(value, f"notebooks/{path.name}") for name, value in given.items()}


def assign(paths: Iterable[Path], given: Mapping[str, str]) -> dict[Path, dict[str, Any]]:
    """Typed parameters for each of several notebooks from `name=text` pairs: each notebook gets those that
    it declares.

    Raises UnknownName when no notebook declares a name, InputError when a value does not parse.
    """
    known = {path: declared(path) for path in paths}
    every = {name for parameters in known.values() for name in parameters}
    for name in given:
        if name not in every:
            raise unknown("parameter", name, every, ", ".join(f"notebooks/{path.name}" for path in known))
    return {
        path: {name: parameters[name].parse(text, path.name) for name, text in given.items() if name in parameters}
        for path, parameters in known.items()
    }


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook's JSON. Raises InputError when the file is missing, not UTF-8, not JSON or not a version 4
    notebook."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"notebook {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"notebook {path} is not a notebook: {error}") from None
    if not isinstance(content, dict) or content.get("nbformat") != 4 or not isinstance(content.get("cells"), list):
        raise InputError(f"notebook {path} is not a notebook of format 4; save it with JupyterLab")
    return content


def _content(notebook: Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    if isinstance(notebook, Path):
        return read_notebook(notebook), notebook.name
    return notebook, "notebook"


def _parse(source: str, where: str) -> dict[str, Parameter]:
    lines = source.splitlines()
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(f"{where}, parameters cell, line {error.lineno}: {error.msg}") from None
    found: dict[str, Parameter] = {}
    for node in body:
        at = f"{where}, parameters cell, line {node.lineno}"
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise InputError(f"{at}: write 'name: type = literal  # help', found {lines[node.lineno - 1].strip()!r}")
        name, kind = node.target.id, ast.unparse(node.annotation)
        if kind not in _FITS:
            raise InputError(f"{at}: type '{kind}' of '{name}' is not allowed; allowed: {', '.join(_FITS)}")
        if lines[node.lineno - 1].count("=") != 1:
            raise InputError(f"{at}: one '=' on a line, also in the comment (papermill loses '{name}' otherwise)")
        if name in found or keyword.iskeyword(name) or name.startswith("_"):
            raise InputError(f"{at}: name '{name}' is declared twice or reserved")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise InputError(f"{at}: the default of '{name}' must be a literal") from None
        comment = lines[node.lineno - 1].partition("#")[2].strip()
        parameter = Parameter(name, kind, default, comment)
        parameter.check(default, where)
        found[name] = parameter
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, float) and math.isfinite(value),
    "bool": lambda value: isinstance(value, bool),
    "list[str]": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "dict[str, float]": lambda value: (
        isinstance(value, dict) and all(isinstance(k, str) and _is_number(v) for k, v in value.items())
    ),
}
_EXAMPLE = {
    "str": "text",
    "int": "10",
    "float": "0.5",
    "bool": "true",
    "list[str]": "one,two",
    "dict[str, float]": "'{\"name\": 0.5}'",
}


def _parse_bool(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().lower() not in words:
        raise ValueError(text)
    return words[text.strip().lower()]


def _parse_list(text: str) -> Any:
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


_PARSE: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _parse_bool,
    "list[str]": _parse_list,
    "dict[str, float]": json.loads,
}
