"""BG/NBD on members with daily histories: ours against lifetimes, and ten million members fitted and scored in little memory.

`run()` draws the histories once (two years, whole days), gives both the same rows and lets each make of them what it does: ours
counts distinct cells and fits those, lifetimes fits rows. Seconds are medians of runs in this process; the bench fails when a
parameter differs by 1e-4. `large()` measures a process of its own that reads the histories of ten million members from Parquet
through the engine, fits, scores every member with intervals, and writes the scores.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crm_core.config import EngineSettings
from crm_core.models import fit_bgnbd
from crm_core.models.cells import cells_of
from crm_core.models.value_scores import model_scores
from crm_core.store import connect
from tests.bench.peak import peak_mb

ROOT = Path(__file__).resolve().parents[2]
TRUTH = {"r": 0.7, "alpha": 40.0, "a": 0.8, "b": 3.0}
DAYS = 730
BLOCK = 500_000
MEMORY = "700MB"


def made_up(members: int, seed: int) -> pa.Table:
    """member_id, x, t_x, T (days), purchases, spend of members drawn from BG/NBD; purchases of one day are one."""
    rng = np.random.default_rng(seed)
    until = rng.integers(1, DAYS + 1, members)
    rate, leaves = rng.gamma(TRUTH["r"], 1 / TRUTH["alpha"], members), rng.beta(TRUTH["a"], TRUTH["b"], members)
    x, last, clock = np.zeros(members, int), np.zeros(members, int), np.zeros(members)
    alive = np.arange(members)
    while len(alive):
        clock[alive] += rng.exponential(1.0, len(alive)) / np.maximum(rate[alive], 1e-9)
        alive = alive[clock[alive] <= until[alive]]
        day = np.ceil(clock[alive]).astype(int)
        x[alive] += day > last[alive]
        last[alive] = day
        alive = alive[rng.random(len(alive)) >= leaves[alive]]
    spend = np.round(rng.gamma(6.0 * (x + 1)) / rng.gamma(4.0, 1 / 15.0, members), 2)
    columns = {"x": x, "t_x": last, "T": until, "purchases": x + 1, "spend": spend}
    return pa.table({"member_id": [f"{seed:03d}{n:09d}" for n in range(members)], **columns})


def run(members: int = 1_000_000, runs: int = 3) -> list[dict[str, Any]]:
    """One row per contender: name, seconds (median), params."""
    import lifetimes

    engine = ibis.duckdb.connect()
    table = engine.create_table("histories", made_up(members, 1))
    rows = table.select("x", "t_x", "T").to_pandas()
    times: dict[str, list[float]] = {"ours": [], "lifetimes": []}
    for number in range(runs):
        began = time.perf_counter()
        cells = cells_of(table).to_pandas()
        ours = fit_bgnbd(cells.x, cells.t_x, cells["T"], cells.weight)
        times["ours"].append(time.perf_counter() - began)
        if number:
            continue
        began = time.perf_counter()
        theirs = lifetimes.BetaGeoFitter().fit(rows.x, rows.t_x, rows["T"])
        times["lifetimes"].append(time.perf_counter() - began)
    assert ours.convergence.ok
    apart = {name: abs(value / theirs.params_[name] - 1) for name, value in ours.params.items()}
    return [
        {"name": name, "seconds": statistics.median(taken), "cells": len(cells), "apart": float(max(apart.values()))}
        for name, taken in times.items()
    ]


def large(members: int = 10_000_000) -> dict[str, Any]:
    """Seconds, peak megabytes, cells and members scored of a fresh process that fits and scores `members`."""
    with tempfile.TemporaryDirectory(prefix="crm-purchases-") as folder:
        for number in range(max(1, members // BLOCK)):
            pq.write_table(made_up(min(BLOCK, members), number), Path(folder) / f"{number:03d}.parquet")
        command = [sys.executable, "-m", "tests.bench.bench_purchases", folder]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(members: int) -> list[dict[str, Any]]:
    """The goals: fit at least 8 times faster than lifetimes, parameters within 1e-4; ten times the members under 2 GB."""
    found = {row["name"]: row for row in run(members)}
    ratio = found["lifetimes"]["seconds"] / found["ours"]["seconds"]
    apart, most = found["ours"]["apart"], large(members * 10)
    return [
        {"step": f"BG/NBD, {found['ours']['cells']:,} daily cells", "seconds": found["ours"]["seconds"]},
        {
            "step": "BG/NBD against lifetimes",
            "seconds": found["lifetimes"]["seconds"],
            "ratio": round(ratio, 2),
            "goal": 8.0,
            "met": ratio >= 8,
        },
        {"step": f"parameters within 1e-4 of lifetimes ({apart:.1e})", "seconds": 0.0, "met": apart < 1e-4},
        {
            "step": f"fit and score {most['members']:,} members",
            "seconds": most["seconds"],
            "peak_mb": most["peak_mb"],
            "met": most["peak_mb"] < 2048,
        },
    ]


def _child(folder: Path) -> None:
    began = time.perf_counter()
    engine = connect(EngineSettings(memory_limit=MEMORY), folder / "spill")
    members = engine.read_parquet(str(folder / "*.parquet"))
    cells = cells_of(members).to_pyarrow()
    model = fit_bgnbd(*(cells[name].to_numpy() for name in ("x", "t_x", "T", "weight")))
    count = cells.num_rows
    del cells
    fitted = time.perf_counter() - began
    scored = model_scores(members, model, None, [90], 0.9)
    engine.to_parquet(scored, folder / "scores.out")
    print(
        json.dumps(
            {
                "members": pq.read_metadata(folder / "scores.out").num_rows,
                "cells": count,
                "fit_seconds": round(fitted, 1),
                "seconds": round(time.perf_counter() - began, 1),
                "cpu_seconds": round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1),
                "peak_mb": peak_mb(),
            }
        )
    )


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
