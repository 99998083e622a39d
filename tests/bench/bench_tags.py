"""A hundred tags of a million members: `tags.compute` in the engine against pandas, from the stored features to the stored tags.

Forty yes-or-no rules, thirty with cases, thirty statistics, over features as the lake stores them (money decimal). pandas reads
the columns it needs from the same Parquet file, works each tag out column by column (never row by row) and writes the same wide
table; what it writes is compared value by value. Both run alone in a process, whose peak memory is told.
"""

from __future__ import annotations

import ast
import importlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

from tests.bench.peak import peak_mb

ROOT = Path(__file__).resolve().parents[2]
TAGS = 100
TITLE = {"zh": "甲", "en": "A"}
NUMBERS = ("orders_30d", "orders_90d", "orders_365d", "days_since_last_order", "visits_30d", "age", "tenure_days", "order_count")
MONEYS = ("net_amount", "net_amount_30d", "net_amount_365d")
TEXTS = ("tier", "main_channel", "favourite_category")


def definitions() -> dict[str, Any]:
    """The tags, as conf/tags.yml would have them."""
    made: dict[str, Any] = {}
    for k in range(TAGS):
        one, two, money, text = NUMBERS[k % 8], NUMBERS[(k + 3) % 8], MONEYS[k % 3], TEXTS[k % 3]
        if k % 10 < 4:
            rule = f"{one} >= {k % 7 + 1} and ({two} < {k + 5} or {money} >= {k * 10}.5) and {text} in ['a', 'b', 'c{k % 4}']"
            made[f"rule{k}"] = {"kind": "rule", "when": rule}
        elif k % 10 < 7:
            cases = [{"value": f"v{n}", "when": f"{money} >= {(3 - n) * 100 + k} and {one} > {n}"} for n in range(3)]
            made[f"case{k}"] = {"kind": "rule", "cases": cases, "otherwise": "none"}
        else:
            value = (f"{money} * 2 - {k}", f"{one} + {two} * {k}", text)[k % 3]
            made[f"value{k}"] = {"kind": "statistic", "value": value}
    return {"tags": {name: {**tag, "title": TITLE, "owner": "bench"} for name, tag in made.items()}}


def make(path: Path, members: int) -> None:
    """Features of made-up members: every column of the list, those that the tags look at filled."""
    from crm_core.measures import FEATURES

    kinds = {"int64": "BIGINT", "decimal(18, 2)": "DECIMAL(18, 2)", "float64": "DOUBLE", "string": "VARCHAR"}
    whole = {name: f"CASE WHEN hash(i, '{name}') % 9 > 0 THEN (hash(i, '{name}') % 120)::BIGINT END" for name in NUMBERS}
    money = {name: f"((hash(i, '{name}') % 90000) / 100)::DECIMAL(18, 2)" for name in MONEYS}
    texts = {name: f"['a', 'b', 'c1', 'c2', 'd', NULL][(hash(i, '{name}') % 6 + 1)::INT]" for name in TEXTS}
    given = {**whole, **money, **texts}
    empty = {name: f"NULL::{kinds.get(feature.type, 'TIMESTAMP')}" for name, feature in FEATURES.items()}
    columns = [f"{value} AS {name}" for name, value in {**empty, **given}.items()]
    duckdb.connect().execute(
        f"COPY (SELECT md5(i::VARCHAR)[:24] AS member_id, {', '.join(columns)} "
        f"FROM (SELECT i::UBIGINT i FROM range({members}) t(i))) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"
    )


def run(folder: Path, members: int = 1_000_000) -> list[dict[str, Any]]:
    """Rows for the table of `make bench`: goal 10 times pandas as it comes (money as Decimal objects), under 3 GB, the same
    values; pandas on Arrow's types is told beside it."""
    make(folder / "features.parquet", members)
    found = {name: _child(name, folder) for name in ("ours", "pandas", "arrow")}
    for name in ("pandas", "arrow"):
        differing = _differing(folder, name)
        assert not differing, (name, differing)
    ours = found["ours"]
    ratios = {name: round(each["seconds"] / ours["seconds"], 2) for name, each in found.items()}
    small = ours["peak_mb"] < 3072
    return [
        {"step": f"{TAGS} tags of {members:,} members", **ours, "met": small},
        {"step": f"{TAGS} tags against pandas", **found["pandas"], "ratio": ratios["pandas"], "goal": 10.0,
         "met": ratios["pandas"] >= 10},
        {"step": f"{TAGS} tags against pandas on Arrow", **found["arrow"], "ratio": ratios["arrow"]},
    ]  # fmt: skip


def _differing(folder: Path, other: str) -> list[str]:
    """Tags whose values are not those of `other`: texts and yes or no as they are, numbers as numbers."""
    connection, names = duckdb.connect(), list(definitions()["tags"])
    files = f"'{folder}/ours.parquet' AS o JOIN '{folder}/{other}.parquet' AS p USING (member_id)"
    text, number = "{1}.{0}::VARCHAR", "TRY_CAST({1}.{0}::VARCHAR AS DOUBLE)"
    both = "CASE WHEN {n} IS NULL THEN {o} IS DISTINCT FROM {p} ELSE {n} IS DISTINCT FROM {m} END"
    tests = [
        both.format(n=number.format(name, "o"), m=number.format(name, "p"), o=text.format(name, "o"), p=text.format(name, "p"))
        for name in names
    ]
    counts = ", ".join(f"count_if({test})" for test in tests)
    found = connection.execute(f"SELECT count(*), {counts} FROM {files}").fetchone()
    total = connection.execute(f"SELECT count(*) FROM '{folder}/features.parquet'").fetchone()
    assert found is not None and total is not None
    wrong = ["members"] if found[0] != total[0] else []
    return wrong + [name for name, count in zip(names, found[1:], strict=True) if count]


def _child(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.bench_tags", name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return dict(json.loads(done.stdout))


def _ours(folder: Path) -> None:
    from crm_core.config import EngineSettings
    from crm_core.config.tags import TagSettings
    from crm_core.store import connect
    from crm_core.tags import compute

    engine = connect(EngineSettings(), folder / "spill")
    rows = engine.read_parquet(str(folder / "features.parquet"))
    wide = compute(rows, TagSettings.model_validate(definitions()))
    engine.to_parquet(wide, folder / "ours.parquet", compression="zstd", compression_level=1)


def _pandas(folder: Path, arrow: bool = False) -> None:
    """Column by column, as somebody who knows pandas writes it; money stays exact, as Decimal objects or Arrow's decimals."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    names = ["member_id", *NUMBERS, *MONEYS, *TEXTS]
    path = folder / "features.parquet"
    if arrow:
        exact = pd.ArrowDtype(pa.decimal128(15, 2))  # at 38 digits Arrow has no room to multiply
        frame = pd.read_parquet(path, columns=names, dtype_backend="pyarrow").astype(dict.fromkeys(MONEYS, exact))
    else:
        frame = pd.read_parquet(path, columns=names)
    made = {"member_id": frame["member_id"]}
    for name, tag in definitions()["tags"].items():
        if "when" in tag:
            made[name] = _evaluated(tag["when"], frame).fillna(False).astype(bool)
        elif "value" in tag:
            made[name] = _evaluated(tag["value"], frame)
        else:
            held = [_evaluated(case["when"], frame).fillna(False).to_numpy(dtype=bool) for case in tag["cases"]]
            made[name] = np.select(held, [case["value"] for case in tag["cases"]], tag["otherwise"])
    pd.DataFrame(made).to_parquet(folder / ("arrow.parquet" if arrow else "pandas.parquet"), compression="zstd")


def _evaluated(text: str, frame: Any) -> Any:
    """One expression over the columns of a frame."""
    from decimal import Decimal

    def of(node: ast.expr) -> Any:
        if isinstance(node, ast.BoolOp):
            parts = [of(each) for each in node.values]
            joined = parts[0]
            for part in parts[1:]:
                joined = joined & part if isinstance(node.op, ast.And) else joined | part
            return joined
        if isinstance(node, ast.Compare):
            left, kind = of(node.left), node.ops[0]
            if isinstance(kind, ast.In):
                return left.isin([each.value for each in node.comparators[0].elts])
            right = of(node.comparators[0])
            return {ast.GtE: left.__ge__, ast.Lt: left.__lt__, ast.Gt: left.__gt__}[type(kind)](right)
        if isinstance(node, ast.BinOp):
            left, right = of(node.left), of(node.right)
            return {ast.Add: left.__add__, ast.Sub: left.__sub__, ast.Mult: left.__mul__}[type(node.op)](right)
        if isinstance(node, ast.Name):
            return frame[node.id]
        return Decimal(str(node.value)) if isinstance(node.value, float) else node.value

    return of(ast.parse(text, mode="eval").body)


if __name__ == "__main__":
    if sys.argv[1] in ("ours", "pandas", "arrow"):
        for module in ("crm_core.tags", "crm_core.store", "numpy", "pandas", "pyarrow.parquet"):
            importlib.import_module(module)  # imports are not what is measured
        began = time.perf_counter()
        used = resource.getrusage(resource.RUSAGE_SELF)
        _ours(Path(sys.argv[2])) if sys.argv[1] == "ours" else _pandas(Path(sys.argv[2]), sys.argv[1] == "arrow")
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        print(json.dumps({
            "seconds": round(time.perf_counter() - began, 2), "cpu_seconds": round(cpu, 2), "peak_mb": peak_mb(),
        }))  # fmt: skip
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            for row in run(Path(scratch), int(sys.argv[1])):
                print(row)
