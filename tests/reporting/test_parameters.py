"""The parameters cell is read strictly, and nothing but what it declares is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crm_core.errors import InputError, UnknownName
from crm_core.reporting import assign, declared
from crm_core.reporting.parameters import checked
from tests.reporting.toys import Make

ALL = """as_of: str = ""  # date
top: int = 3
share: float = 0.5  # between 0 and 1
full: bool = False
names: list[str] = []
weights: dict[str, float] = {}"""


def test_every_allowed_type_is_read_with_its_default_and_help(make_notebook: Make) -> None:
    found = declared(make_notebook("toy", parameters=ALL))
    assert {name: one.type for name, one in found.items()} == {
        "as_of": "str", "top": "int", "share": "float", "full": "bool", "names": "list[str]",
        "weights": "dict[str, float]",
    }  # fmt: skip
    assert (found["share"].default, found["share"].help) == (0.5, "between 0 and 1")


def test_papermill_itself_finds_the_same_parameters(make_notebook: Make) -> None:
    import papermill

    path = make_notebook("toy", parameters=ALL)
    assert set(papermill.inspect_notebook(str(path))) == set(declared(path))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("top = 3", "write 'name: type = literal"),
        ("top: int = 1 + x", "must be a literal"),
        ("top: int = 3  # default=3", "one '=' on a line"),
        ("when: date = ''", "type 'date'"),
        ("top: str | None = ''", "type 'str | None'"),
        ("top: int = 'three'", "takes int"),
        ("top: int = 3\ntop: int = 4", "declared twice"),
        ("import os", "write 'name: type = literal"),
        ("top: int =", "line 1"),
    ],
)
def test_a_parameters_cell_with_anything_else_is_refused(make_notebook: Make, line: str, complaint: str) -> None:
    with pytest.raises(InputError, match=r"toy.ipynb, parameters cell|takes int") as error:
        declared(make_notebook("toy", parameters=line))
    assert complaint in str(error.value)


def test_a_misspelt_name_is_refused_with_the_nearest_one(make_notebook: Make) -> None:
    with pytest.raises(UnknownName, match=r"parameter 'as_fo' is not known in notebooks/toy.ipynb; did you mean 'as_of'"):
        checked(make_notebook("toy", parameters=ALL), {"as_fo": "2026-10-31"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("top", "3"), ("top", 2.5), ("top", True), ("share", "x"), ("share", float("nan")), ("full", 1),
     ("names", [1]), ("weights", {"a": "b"}), ("as_of", None)],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused(make_notebook: Make, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"parameter '{name}' of notebooks/toy.ipynb takes"):
        checked(make_notebook("toy", parameters=ALL), {name: value})


def test_an_int_is_taken_where_a_float_is_meant(make_notebook: Make) -> None:
    assert checked(make_notebook("toy", parameters=ALL), {"share": 1}) == {"share": 1.0}


def test_typed_text_becomes_values_and_each_notebook_gets_only_what_it_declares(make_notebook: Make) -> None:
    one = make_notebook("one", parameters="as_of: str = ''\ntop: int = 3")
    two = make_notebook("two", parameters="as_of: str = ''\nnames: list[str] = []\nfull: bool = False")
    given = {"as_of": "2026-10-31", "top": "7", "names": "a, b", "full": "yes"}
    assert assign([one, two], given) == {
        one: {"as_of": "2026-10-31", "top": 7},
        two: {"as_of": "2026-10-31", "names": ["a", "b"], "full": True},
    }


def test_a_name_that_no_notebook_declares_is_refused(make_notebook: Make) -> None:
    with pytest.raises(UnknownName, match="did you mean 'top'"):
        assign([make_notebook("one", parameters="top: int = 3")], {"tap": "7"})


def test_text_that_does_not_parse_says_how_to_write_it(make_notebook: Make) -> None:
    with pytest.raises(InputError, match=r"takes int, found 'many'; write it like top=10"):
        assign([make_notebook("one", parameters="top: int = 3")], {"top": "many"})


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"nbformat": 3, "cells": []}'])
def test_a_file_that_is_no_notebook_is_one_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text(content)
    with pytest.raises(InputError, match=r"broken.ipynb is not a notebook"):
        declared(path)


def test_a_missing_notebook_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        declared(tmp_path / "none.ipynb")
