"""The documents are true: every command, notebook, flow, source, campaign and platform stands in both READMEs; tables are made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crm_core.schema import TABLES
from crm_core.schema.describe import markdown

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
BEGIN, END = "<!-- tables: begin (made by `make tables`) -->", "<!-- tables: end -->"


def commands() -> list[str]:
    from typer.main import get_command

    from crm_core.cli import app

    return sorted(get_command(app).commands)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_a_readme_names_every_command(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    assert [name for name in commands() if f"crm {name}" not in text] == []


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_a_readme_names_every_notebook_flow_source_campaign_and_platform(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    names = [path.stem for path in (ROOT / "notebooks").glob("*.ipynb")]
    names += [path.stem for folder in ("sources", "campaigns", "platforms") for path in (ROOT / "conf" / folder).glob("*.yml")]
    names += ["flows/nightly.py", "flows/serve.py", *(f"conf/{path.name}" for path in (ROOT / "conf").glob("*.yml"))]
    assert [name for name in names if name not in text] == []


def test_the_table_descriptions_in_the_readme_are_those_of_the_schema() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == with_tables(text), "run make tables"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_file_that_a_readme_shows_or_links_is_there(readme: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme.read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_dependency_has_its_line_of_why() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("ibis-framework, duckdb", "ibis-framework duckdb")
    wanted = [
        re.split(r"[<>\[= ]", line)[0]
        for line in (ROOT / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert [name for name in wanted if name not in text] == []


def with_tables(text: str) -> str:
    """`text` with the generated part made anew."""
    made = "\n".join(markdown(schema) for schema in TABLES.values())
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{made}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    path = READMES[0]
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
