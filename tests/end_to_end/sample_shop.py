"""A workspace loaded with a simulated shop, and table contents as plain values that can be compared."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from crm_core.ingest import LoadReport, ingest
from crm_core.simulate import simulate
from crm_core.workspace import REPOSITORY, Workspace

KEY = "5a" * 32
OF_LOAD = ("load_id", "recorded_at")


@contextmanager
def elsewhere() -> Iterator[None]:
    """One vault key for all workspaces, on a machine whose clock is set to New York."""
    before = {name: os.environ.get(name) for name in ("TZ", "CRM_VAULT_KEY")}
    os.environ.update(TZ="America/New_York", CRM_VAULT_KEY=KEY)
    time.tzset()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        time.tzset()


def loaded(root: Path, *, sample: str = "", **world: Any) -> tuple[Path, LoadReport]:
    """A workspace at `root` with a simulated shop in it, and the load's reconciliation."""
    raw = root.parent / f"{root.name} {sample or 'raw'}"
    simulate(raw, **world)
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.open(root)
    return root, ingest(workspace.config, workspace.lake, workspace.vault, "sample", [raw])


def eager_models(root: Path) -> None:
    """Settings of the workspace at `root` by which models learn from however little there is."""
    (root / "conf").mkdir(parents=True, exist_ok=True)
    text = (REPOSITORY / "conf" / "models.yml").read_text(encoding="utf-8")
    less = re.sub(r"(need_\w+): *(\d+)", lambda found: f"{found[1]}: {min(int(found[2]), 100)}", text)
    (root / "conf" / "models.yml").write_text(less, encoding="utf-8")


def rows(table: Any) -> Counter[tuple[Any, ...]]:
    """Every row of an ibis table but for what tells loads apart."""
    kept = [name for name in table.columns if name not in OF_LOAD]
    content: pa.Table = table.select(*kept).to_pyarrow()
    return Counter(zip(*(column.to_pylist() for column in content.columns), strict=True))


def as_of(root: Path, day: date) -> Workspace:
    """The workspace at `root` as it stood at the end of a day."""
    return Workspace.open(root, as_of=day)
