"""The README's own export, loaded as the README says, prints what the README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CRM = Path(sys.executable).parent / "crm"


def block(name: str) -> str:
    """The text of the code block that `name` marks in README.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found, f"README.md has no example '{name}'"
    return found[1]


def crm(workspace: Path, *words: str) -> str:
    command = [str(CRM), "--workspace", str(workspace), *words]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_export_of_the_readme_is_drafted_loaded_mended_and_taken_back(tmp_path: Path) -> None:
    sources = tmp_path / "conf" / "sources"
    sources.mkdir(parents=True)
    (tmp_path / "conf" / "project.yml").write_bytes((ROOT / "conf" / "project.yml").read_bytes())
    (tmp_path / "销售单.csv").write_text(block("export"), encoding="utf-8")
    draft = crm(tmp_path, "ingest", "--suggest", "销售单.csv", "--name", "my_till")
    assert "source: my_till" in draft
    assert "13800138000" not in draft

    (sources / "my_till.yml").write_text(block("source"), encoding="utf-8")
    assert "nothing was written" in crm(tmp_path, "ingest", "my_till", "销售单.csv", "--dry-run")
    printed = crm(tmp_path, "ingest", "my_till", "销售单.csv")
    shown = {line.rstrip() for line in block("printed").splitlines() if line.strip()}
    assert shown <= {line.rstrip() for line in printed.splitlines()}

    load = re.search(r"crm rejects (\S+)", printed)
    assert load
    crm(tmp_path, "rejects", load[1], "--fix", "mend.csv")
    mended = tmp_path / "mend.csv"
    mended.write_text(mended.read_text(encoding="utf-8-sig").replace("一百二", "120.00"), encoding="utf-8")
    assert "read 1 = accepted 1 + duplicate 0 + rejected 0" in crm(tmp_path, "ingest", "my_till", "mend.csv")
    crm(tmp_path, "undo", load[1])
