"""The house rules, run as tests: floors, sizes, no SQL text, no prints, no addresses."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "crm_core").rglob("*.py"))
SQL = re.compile(r"""["'](?:\s*)(select\s.+\sfrom|insert\s+into|create\s+(table|view)|delete\s+from|update\s.+\sset)\b""", re.I)


def test_each_room_imports_only_the_floors_below_it() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


MOST_CODE_LINES = 26_510  # lower it whenever a room gets simpler; the aim is 10,000


def test_the_package_grows_no_further() -> None:
    assert sum(code_lines(path.read_text(encoding="utf-8")) for path in PACKAGE) <= MOST_CODE_LINES


def code_lines(text: str) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            documented.update(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    written: set[int] = set()
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            written.update(range(token.start[0], token.end[0] + 1))
    return len(written - documented)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_stays_under_400_lines_and_writes_no_sql(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not SQL.search(text)


def test_crm_help_answers_in_under_a_second_because_it_imports_nothing_heavy() -> None:
    heavy = ("ibis", "pandas", "prefect", "altair", "duckdb", "sqlalchemy")
    code = f"import sys, crm_core.cli; print([name for name in {heavy} if name in sys.modules])"
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
