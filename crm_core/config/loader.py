"""conf/*.yml → frozen pydantic models, with errors that name file, line, what was found and what is allowed.

ruamel.yaml is used because it keeps the line of every key; values come back as plain Python through the safe loader.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from crm_core.errors import InputError


class Settings(BaseModel):
    """Base of every settings model: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


Model = TypeVar("Model", bound=BaseModel)
_PASSWORD = re.compile(r"(\w://[^\s/@:'\"]*:)[^\s@'\"]+@")


def no_passwords(text: str, where: str) -> None:
    """Raises InputError naming the line of a URL with a password: settings are pinned in the ledger and travel with runs."""
    for number, line in enumerate(text.splitlines(), 1):
        if _PASSWORD.search(line):
            raise InputError(
                f"{where} line {number}: a URL with a password does not belong into settings, which are kept in the "
                "ledger; put it into an environment variable and name that with `url_env`"
            )


def read_yaml(path: Path, model: type[Model]) -> Model:
    """The settings in `path` as `model`. Raises InputError naming file and line of each thing that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check that it exists and may be read") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return parse_yaml(text, model, str(path))


def parse_yaml(text: str, model: type[Model], where: str) -> Model:
    """`text` as `model`; `where` is the file name used in errors."""
    tree = _load(text, where)
    try:
        return model.model_validate(_plain(tree))
    except ValidationError as error:
        problems = [_problem(item, tree, model, where) for item in error.errors(include_url=False)]
        raise InputError("\n".join(problems)) from None


def _load(text: str, where: str) -> Any:
    yaml = YAML(typ="rt", pure=True)
    yaml.allow_duplicate_keys = False
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        problem = (error.problem or "not YAML").split("\n")[0]
        raise InputError(f"{where} line {line}: {problem}; the file is not valid YAML, mend that line") from None
    except YAMLError as error:
        raise InputError(f"{where}: not valid YAML ({str(error).splitlines()[0]})") from None
    if tree is None:
        return CommentedMap()
    if not isinstance(tree, CommentedMap):
        found = "a list" if isinstance(tree, CommentedSeq) else "a single value"
        raise InputError(f"{where} line 1: settings like 'name: value' are expected, found {found}")
    return tree


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {_scalar(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return _scalar(node)


def _scalar(value: Any) -> Any:
    # ruamel's round-trip scalars are subclasses that pydantic's strict modes and json would not take
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _problem(item: Any, tree: Any, model: type[BaseModel], where: str) -> str:
    location = [part for part in item["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    line = line_of(tree, location)
    name = ".".join(str(part) for part in location)
    at = f"{where} line {line}"
    if item["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ";"
        return f"{at}: setting '{location[-1]}' is not known{hint} known: {', '.join(known)}"
    if item["type"] == "missing":
        return f"{at}: setting '{name}' is missing; add it"
    found = item.get("input")
    found = _PASSWORD.sub(r"\1***@", found) if isinstance(found, str) else found
    shown = f", found {found!r}" if isinstance(found, str | int | float | bool | type(None)) else ""
    message = item["msg"].removeprefix("Value error, ")
    return f"{at}: setting '{name}': {message}{shown}"


def line_of(tree: Any, location: list[Any]) -> int:
    """The 1-based line of the setting at `location`; that of the nearest parent where it is absent."""
    line, node = 1, tree
    for part in location:
        try:
            if isinstance(node, CommentedMap):
                if part not in node:
                    continue  # a union's tag, not a key of the file
                line, node = node.lc.key(part)[0] + 1, node[part]
            elif isinstance(node, CommentedSeq) and isinstance(part, int):
                line, node = node.lc.item(part)[0] + 1, node[part]
        except (KeyError, IndexError, TypeError):
            break
    return line


def _fields_at(model: type[BaseModel], location: list[Any]) -> list[str]:
    current: Any = model
    for part in location:
        current = _inner_model(current, part)
        if current is None:
            return []
    return sorted(field.alias or name for name, field in current.model_fields.items())


def _inner_model(model: type[BaseModel], part: Any) -> type[BaseModel] | None:
    if isinstance(part, int) or part not in model.model_fields:
        return model
    return _model_in(model.model_fields[part].annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
