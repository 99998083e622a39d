"""The house rules, run as tests: floors, sizes, no SQL text, no prints, no addresses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "crm_core").rglob("*.py"))
SQL = re.compile(r"""["'](?:\s*)(select\s.+\sfrom|insert\s+into|create\s+(table|view)|delete\s+from|update\s.+\sset)\b""", re.I)


def test_each_room_imports_only_the_floors_below_it() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_stays_small() -> None:
    assert sum(len(path.read_text().splitlines()) for path in PACKAGE) <= 10_000


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_stays_under_400_lines_and_writes_no_sql(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not SQL.search(text)


def test_crm_help_answers_in_under_a_second_because_it_imports_nothing_heavy() -> None:
    code = "import sys, crm_core.cli; print([m for m in ('ibis','pandas','prefect','altair','duckdb','sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_in_the_repository_names_a_package_index_or_a_path_of_some_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    bad = re.compile(r"--(extra-)?index-url|https?://[^\s\"']+/simple\b|/home/\w+/|/Users/\w+/")
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yml", ".toml", ".lock", ".in", ".ipynb", ""} and path.is_file():
            if path.name == "test_architecture.py":
                continue
            assert not bad.search(path.read_text(encoding="utf-8", errors="ignore")), name
