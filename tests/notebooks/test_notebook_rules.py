"""The notebook guide as a test over notebooks/*.ipynb: a new notebook is held to it on arrival."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from crm_core.reporting import declared

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
FORBIDDEN = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.For, ast.While, ast.Lambda, ast.With,
)  # fmt: skip

pytestmark = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind
    ]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_outputs_are_stripped(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_parameters_cell_is_the_first_code_cell_and_starts_with_as_of(path: Path) -> None:
    first = cells(path, "code")[0]
    assert tags(first) == ["parameters"] and next(iter(declared(path))) == "as_of"
    assert all(parameter.help for parameter in declared(path).values())


def test_the_workspace_is_opened_in_the_second_code_cell(path: Path) -> None:
    assert "ws = Workspace.open(as_of=as_of)" in source(cells(path, "code")[1])


def test_code_stays_short_and_each_cell_shows_one_thing(path: Path) -> None:
    code = [source(cell) for cell in cells(path, "code")]
    assert (
        sum(len(text.splitlines()) for text in code) <= 60
        and max(len(text.splitlines()) for text in code) <= 8
    )
    for text in code[2:]:
        assert isinstance(ast.parse(text).body[-1], ast.Expr)


def test_no_functions_classes_loops_handlers_groupby_magics_filters_or_absolute_paths(path: Path) -> None:
    for cell in cells(path, "code"):
        text = source(cell)
        assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, FORBIDDEN)]
        assert not re.search(r"groupby|group_by|warnings|^\s*[%!]|[\"']/|print\(", text, re.M)


def test_every_sentence_is_there_in_both_languages_in_pairs(path: Path) -> None:
    markdown = cells(path, "markdown")
    assert [tags(cell) for cell in markdown] == [["zh"], ["en"]] * (len(markdown) // 2)
    for chinese, english in zip(markdown[::2], markdown[1::2], strict=True):
        assert re.search(r"[一-鿿]", source(chinese)) and not re.search(r"[一-鿿]", source(english))
        assert source(chinese).split(" ")[0] == source(english).split(" ")[0], (
            "both start with the same heading level"
        )


def test_it_opens_with_title_question_and_reader_and_closes_with_next_steps_and_provenance(
    path: Path,
) -> None:
    first = source(cells(path, "markdown")[0])
    assert first.startswith("# ") and "？" in first and "写给：" in first
    code = [source(cell) for cell in cells(path, "code")]
    assert code[-2].strip() == "report.next_steps()" and code[-1].strip() == "report.provenance()"


def test_the_kernel_is_the_stock_one_so_that_jupyterlab_opens_it(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["metadata"]["kernelspec"]["name"] == "python3" and content["nbformat"] == 4
