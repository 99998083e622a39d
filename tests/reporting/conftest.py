"""Toy notebooks, and one small workspace for all tests of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.reporting.toys import Make, code


@pytest.fixture
def make_notebook(tmp_path: Path) -> Make:
    """Writes a notebook of code cells: `make_notebook("name", "code", …, parameters="as_of: str = ''")`."""

    def make(name: str, *cells: str, parameters: str = "", markdown: tuple[str, ...] = ()) -> Path:
        listed: list[dict[str, Any]] = [
            {"cell_type": "markdown", "id": f"m{i}", "metadata": {}, "source": text} for i, text in enumerate(markdown)
        ]
        if parameters:
            listed.append(code("p", parameters, ["parameters"]))
        listed += [code(f"c{index}", source, []) for index, source in enumerate(cells)]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        path = tmp_path / f"{name}.ipynb"
        content = {"cells": listed, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return make


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with everything that the four reports read; its folder has blanks, Chinese and a per cent
    sign."""
    from tests.reporting import small_world as world

    root = tmp_path_factory.mktemp("world") / "我的 数据 100%"
    world.build(root, members=1500)
    return root
