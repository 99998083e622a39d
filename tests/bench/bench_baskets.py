"""Pairs among one million baskets of 5,000 items: ours (self-join in the engine) against mlxtend over the same Parquet file.

Each contender reads the file in a process of its own and counts every pair that at least 100 baskets hold; the bench fails when
a single count differs. mlxtend is used as its documents show: TransactionEncoder into a frame of booleans, then `fpgrowth`
with sets of at most two. Memory is the greatest resident size of the process, its imports included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.peak import peak_mb

ROOT = Path(__file__).resolve().parents[2]
BASKETS, ITEMS, LEAST = 1_000_000, 5_000, 100


def rows(baskets: int = BASKETS) -> list[dict[str, Any]]:
    """The bench's lines: ours, and mlxtend with the ratios of seconds (goal 25) and of memory (goal 8)."""
    with tempfile.TemporaryDirectory(prefix="crm-baskets-") as folder:
        path = Path(folder) / "baskets.parquet"
        pq.write_table(made_up(baskets), path)
        least = LEAST * baskets // BASKETS
        ours, theirs = (_child(name, path, baskets, least) for name in ("ours", "mlxtend"))
    assert ours["counts"] == theirs["counts"], "the two do not agree"
    speed, memory = theirs["seconds"] / ours["seconds"], theirs["peak_mb"] / ours["peak_mb"]
    shown = {"seconds": theirs["seconds"], "peak_mb": theirs["peak_mb"]}
    return [
        {"step": f"pairs among {baskets:,} baskets", "seconds": ours["seconds"], "peak_mb": ours["peak_mb"]},
        {"step": "pairs against mlxtend", **shown, "ratio": round(speed, 1), "goal": 25.0, "met": speed >= 25},
        {"step": "memory of pairs against mlxtend", **shown, "ratio": round(memory, 1), "goal": 8.0, "met": memory >= 8},
    ]


def made_up(baskets: int, seed: int = 5) -> pa.Table:
    """basket_id and item: six items a basket on average, a few popular ones and a long tail, some drawn twice."""
    draw = np.random.default_rng(seed)
    weight = 1 / (np.arange(ITEMS) + 20.0)
    numbers = np.repeat(np.arange(baskets), 1 + draw.poisson(5, baskets))
    return pa.table({"basket_id": numbers, "item": draw.choice(ITEMS, len(numbers), p=weight / weight.sum())})


def _child(name: str, path: Path, baskets: int, least: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.bench_baskets", name, str(path), str(baskets), str(least)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ours(path: Path, baskets: int, least: int) -> dict[tuple[int, int], int]:
    from crm_core.config import EngineSettings
    from crm_core.models.baskets import item_pairs
    from crm_core.store import connect

    engine = connect(EngineSettings(), path.parent / "spill")
    found = item_pairs(engine.read_parquet(str(path)), least / baskets)
    return dict(zip(zip(found["first"], found["second"], strict=True), found["baskets"], strict=True))


def _mlxtend(path: Path, baskets: int, least: int) -> dict[tuple[int, int], int]:
    import pandas as pd
    from mlxtend.frequent_patterns import fpgrowth
    from mlxtend.preprocessing import TransactionEncoder

    bought = pq.read_table(path)
    ends = np.flatnonzero(np.diff(bought["basket_id"].to_numpy())) + 1
    lists = [part.tolist() for part in np.split(bought["item"].to_numpy(), ends)]
    encoder = TransactionEncoder().fit(lists)
    frame = pd.DataFrame(encoder.transform(lists), columns=encoder.columns_)
    found = fpgrowth(frame, min_support=least / baskets, max_len=2, use_colnames=True)
    pairs = found[found["itemsets"].map(len) == 2]
    counts = (pairs["support"] * baskets).round().astype(int)
    return {tuple(sorted(pair)): count for pair, count in zip(pairs["itemsets"], counts, strict=True)}


def main(name: str, path: Path, baskets: int, least: int) -> None:
    """One contender's work, timed; prints seconds, processor seconds, peak memory and a digest of all counts."""
    began, busy = time.perf_counter(), time.process_time()
    found = {"ours": _ours, "mlxtend": _mlxtend}[name](path, baskets, least)
    seconds, used = time.perf_counter() - began, time.process_time() - busy
    digest = hash(tuple(sorted((int(a), int(b), int(count)) for (a, b), count in found.items())))
    row = {"seconds": round(seconds, 2), "cpu_seconds": round(used, 2), "peak_mb": peak_mb()}
    print(json.dumps({**row, "counts": [len(found), int(sum(found.values())), digest]}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:5]))
