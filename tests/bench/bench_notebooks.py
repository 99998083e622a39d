"""Twelve small notebooks through our runner and through stock papermill one by one, on the same machine in
the same run.

Each notebook imports pandas, ibis and altair, makes a small frame and a chart. `ours` counts the start of
the fork server and its imports, `ours, warm` finds it running, as every run but a process's first does. All
write an executed notebook for each; ours makes and publishes the page besides.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CODE = """import altair as alt
import ibis
import pandas as pd

frame = pd.DataFrame({"group": ["a", "b", "c"], "members": [number, 20, 30]})
total = ibis.memtable(frame).members.sum().to_pyarrow().as_py()
print(total)
alt.Chart(frame).mark_bar().encode(x="members", y="group").to_dict()["mark"]"""
NOTEBOOKS = 12


def run(notebooks: int = NOTEBOOKS, stock_notebooks: int | None = None) -> list[dict[str, Any]]:
    """One row per contender: name, seconds for `notebooks`, ratio to ours, seconds of one notebook.

    `stock_notebooks`: how many of them stock papermill runs (its time is scaled up); default all.
    """
    from crm_core.reporting import provisioner

    stock = stock_notebooks or notebooks
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        paths = _write(Path(folder), notebooks)
        server = provisioner.server()
        if server is not None:
            server.close()
        seconds = {
            "ours": _timed(lambda: _ours(paths, Path(folder) / "cold")),
            "ours, warm": _timed(lambda: _ours(paths, Path(folder) / "warm")),
            "papermill one by one": _timed(lambda: _papermill(paths[:stock])) * notebooks / stock,
        }
    ours = seconds["ours"]
    return [
        {
            "name": name,
            "seconds": round(taken, 2),
            "times_ours": round(taken / ours, 2),
            "seconds_each": round(taken / notebooks, 2),
            "notebooks": notebooks,
        }
        for name, taken in seconds.items()
    ]


def _write(folder: Path, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        cells = [_cell("p", f"number: int = {number}", ["parameters"]), _cell("c", CODE, [])]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        paths.append(folder / f"small_{number:02d}.ipynb")
        content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        paths[-1].write_text(json.dumps(content))
    return paths


def _cell(name: str, source: str, tags: list[str]) -> dict[str, Any]:
    metadata = {"tags": tags}
    return {"cell_type": "code", "id": name, "metadata": metadata, "execution_count": None, "outputs": [], "source": source}


def _ours(paths: list[Path], out: Path) -> None:
    from crm_core.reporting import Job, run_notebooks

    results = run_notebooks([Job(path, {"number": 10}) for path in paths], out_dir=out, concurrency=2)
    assert all(result.ok for result in results), [result.error for result in results]


def _papermill(paths: list[Path]) -> None:
    import papermill

    for path in paths:
        target = path.with_suffix(".executed.ipynb")
        papermill.execute_notebook(str(path), str(target), parameters={"number": 10}, kernel_name="python3", progress_bar=False)


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
