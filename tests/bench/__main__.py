"""`make bench`: ratios against what one would write or pick instead, all in one run; a table, and data/bench.json.

    python -m tests.bench [--members 1000000] [--keep FOLDER] [--only rfm,notebooks]

A ratio above 1 means that ours is faster (alternative / ours). Each step that has a goal says whether it was met.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RSS_TO_MB = 1024


def main() -> int:
    """Runs the steps asked for and returns 0 when every goal was met."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--keep", default="", help="folder for the sample and its lake; kept, and used again when it is there")
    every = "simulate,ingest,rfm,notebooks,decode,upsert,daily,persons,ingest5m,phones,purchases,features,tags,segments,baskets"
    parser.add_argument("--only", default=every)
    asked = parser.parse_args()
    wanted = asked.only.split(",")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as scratch:
        folder = Path(asked.keep or scratch)
        if {"simulate", "ingest", "rfm"} & set(wanted):
            rows += prepare(folder, asked.members)
        if "rfm" in wanted:
            rows += rfm_rows(folder)
        if "decode" in wanted:
            from tests.bench import bench_reading

            (Path(scratch) / "decode").mkdir()
            rows += bench_reading.run(Path(scratch) / "decode")
        if "ingest5m" in wanted:
            from tests.bench import bench_ingest

            rows += bench_ingest.run(Path(scratch))
        if "phones" in wanted:
            from tests.bench import bench_phones

            rows += bench_phones.rows()
        if "baskets" in wanted:
            from tests.bench import bench_baskets

            rows += bench_baskets.rows()
        if {"upsert", "daily"} & set(wanted):
            from tests.bench import bench_store

            rows += bench_store.upsert_rows(asked.members * 10) if "upsert" in wanted else []
            rows += bench_store.daily_rows() if "daily" in wanted else []
        if "segments" in wanted:
            from tests.bench import bench_segments

            rows += bench_segments.rows(asked.members)
        if "persons" in wanted:
            from tests.bench import bench_identity

            rows += person_rows(bench_identity.run())
        if "purchases" in wanted:
            from tests.bench import bench_purchases

            rows += bench_purchases.rows(asked.members)
        if {"features", "tags"} & set(wanted):
            from tests.bench import bench_features, bench_tags

            rows += bench_features.run(Path(scratch) / "shop", asked.members) if "features" in wanted else []
            rows += bench_tags.run(Path(scratch), asked.members) if "tags" in wanted else []
        if "notebooks" in wanted:
            from tests.bench import bench_notebooks

            rows += notebook_rows(bench_notebooks.run())
    out = ROOT / "data" / "bench.json"
    out.write_text(json.dumps({"machine": machine(), "rows": rows}, ensure_ascii=False, indent=2, default=str) + "\n")
    show(rows)
    print(f"written to {out.relative_to(ROOT)}")
    return 0 if all(row.get("met", True) for row in rows) else 1


def prepare(folder: Path, members: int) -> list[dict[str, Any]]:
    """The sample and its lake, each made in a process of its own whose seconds and peak memory are told."""
    rows = []
    if not (folder / "raw").is_dir():
        seconds, peak = child("simulate", str(folder / "raw"), str(members))
        rows.append({"step": f"simulate {members:,} members", "seconds": seconds, "peak_mb": peak})
    if not (folder / "data" / "lake").is_dir():
        seconds, peak = child("ingest", str(folder), str(folder / "raw"))
        rows.append({"step": "ingest members and orders", "seconds": seconds, "peak_mb": peak, **counted(folder)})
    return rows


def rfm_rows(folder: Path) -> list[dict[str, Any]]:
    """rfm against the query by hand (goal: within 1.25 times) and pandas (goal: 8 times faster), peak under 2 GB."""
    from crm_core.workspace import Workspace
    from tests.bench import bench_rfm

    found = {row["contender"]: row for row in bench_rfm.run(Workspace.open(folder, date(2026, 10, 31)).tables)}
    ours = found["rfm"]
    rows = [{"step": "rfm", "seconds": ours["seconds"], "peak_mb": ours["peak_mb"], "met": ours["peak_mb"] < 2048}]
    for name, goal in (("duckdb by hand", 1 / 1.25), ("pandas", 8.0)):
        ratio = found[name]["seconds"] / ours["seconds"]
        rows.append(
            {
                "step": f"rfm against {name}",
                "seconds": found[name]["seconds"],
                "peak_mb": found[name]["peak_mb"],
                "ratio": round(ratio, 2),
                "goal": round(goal, 2),
                "met": ratio >= goal,
            }
        )
    return rows


def notebook_rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Twelve notebooks through our runner against papermill one by one (goal: 4 times faster)."""
    seconds = {row["name"]: row["seconds"] for row in found}
    ours, stock = seconds["ours"], seconds["papermill one by one"]
    return [
        {"step": "twelve notebooks", "seconds": ours},
        {
            "step": "twelve notebooks against papermill one by one",
            "seconds": stock,
            "ratio": round(stock / ours, 2),
            "goal": 4.0,
            "met": stock / ours >= 4,
        },
    ]


def person_rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Persons from a million known keys against networkx (goal: 20 times faster)."""
    seconds = {row["name"]: row["seconds"] for row in found}
    ratio = seconds["networkx"] / seconds["ours"]
    return [
        {"step": "persons, one million keys", "seconds": seconds["ours"]},
        {
            "step": "persons against networkx",
            "seconds": seconds["networkx"],
            "ratio": round(ratio, 2),
            "goal": 20.0,
            "met": ratio >= 20,
        },
    ]


def child(*arguments: str) -> tuple[float, int]:
    """Runs one step of `work` in a fresh process; (wall seconds, peak resident MB)."""
    began = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-m", "tests.bench", "--work", *arguments], {**os.environ, "PYTHONPATH": str(ROOT)}
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"step {arguments[0]} failed")
    return round(time.perf_counter() - began, 1), usage.ru_maxrss // RSS_TO_MB


def work(step: str, first: str, second: str) -> None:
    """One step, inside its own process."""
    from crm_core.ingest import ingest
    from crm_core.simulate import simulate
    from crm_core.workspace import Workspace

    if step == "simulate":
        simulate(Path(first), members=int(second), events=0.05)
    else:
        workspace = Workspace.open(first)
        orders = sorted(path for path in Path(second).glob("订单_*.csv"))
        people = sorted(path for path in Path(second).glob("会员资料*"))
        ingest(workspace.config, workspace.lake, workspace.vault, "sample", [*people, *orders])


def counted(folder: Path) -> dict[str, int]:
    """Rows of the lake that was made."""
    from crm_core.workspace import Workspace

    lake = Workspace.open(folder).lake
    return {name: int(lake.table(name).count().to_pyarrow().as_py()) for name in ("members", "orders")}


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": sys.version.split()[0]}


def show(rows: list[dict[str, Any]]) -> None:
    """The rows as a table."""
    print(f"{'step':52} {'seconds':>9} {'peak MB':>8} {'ratio':>7} {'goal':>6}  met")
    for row in rows:
        met = "" if "met" not in row else ("yes" if row["met"] else "NO")
        print(
            f"{row['step']:52} {row['seconds']:9.2f} {row.get('peak_mb', ''):>8} {row.get('ratio', ''):>7} "
            f"{row.get('goal', ''):>6}  {met}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--work":
        work(*sys.argv[2:5])
    else:
        raise SystemExit(main())
