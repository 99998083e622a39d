"""Row by row against a reference that is slow and plain: cells looked up in tables written by hand, rows read by the csv
module. Most rows are usual and go the quick way; the others are what shops write instead.
"""

from __future__ import annotations

import csv
import io
import random
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.corner_shop import HEADINGS, Shop, write

BAD = object()
TIMES: dict[str, Any] = {
    "2026-10-05 08:26:00": datetime(2026, 10, 5, 0, 26),
    " 2026-10-05 08:26:00\u3000": datetime(2026, 10, 5, 0, 26),
    "2026/10/5 8:26": datetime(2026, 10, 5, 0, 26),
    "2026-10-05T00:26:00Z": datetime(2026, 10, 5, 0, 26),
    "2026-10-05 08:26:00.5": datetime(2026, 10, 5, 0, 26, 0, 500_000),
    "2026-10-05": datetime(2026, 10, 4, 16),
    "1988-07-01 00:00:00": datetime(1988, 6, 30, 16),
    "2026-10-05  08:26:00": BAD,
    "2026-10-5Z08:26:00": BAD,
    "2026-02-30 08:26:00": BAD,
    "2026-10-05 24:00:00": BAD,
    "2026-10-05 08:26:60": BAD,
    "0026-10-05 08:26:00": BAD,
    "2026-10-05 08:26:0Z": BAD,
    "2027-10-05 08:26:00": BAD,
    "infinity": BAD,
    "": None,
    "NULL": None,
    "-": None,
}
AMOUNTS: dict[str, Any] = {
    "12.50": Decimal("12.50"), "12.5": Decimal("12.50"), "12": Decimal(12), "+12.50": Decimal("12.50"),
    " 12.50": Decimal("12.50"), "¥12.50": Decimal("12.50"), "12.50元": Decimal("12.50"), "1,234.50": Decimal("1234.50"),
    "12.500": Decimal("12.50"), "0.00": Decimal(0), "-0.00": Decimal(0), "007": Decimal(7), "-3.00": Decimal(-3),
    "12.345": BAD, "1.38E+10": BAD, "12,34.50": BAD, "12.": BAD, ".5": BAD, "1e3": BAD, "１２": BAD, "1_000": BAD,
    "99999999999999999999": BAD, "nan": BAD, "": None, "NULL": None, "-": None,
}  # fmt: skip
WORDS: dict[str, Any] = {"天猫": "tmall", " 门店 ": "store", "门店": "store", "集市": BAD, "tmall": BAD, "": None, "-": None}
NAMES: dict[str, Any] = {"A 1": "A 1", "\u00a0A1\u200b": "A1", "张三": "张三", "\ufeffB": "B", "": None, "NULL": None}
USUAL = ("", "", "", "2026-10-05 08:26:00", "2026-10-05 08:26:00", "12.50", "", "天猫")


def reference(text: str) -> tuple[list[int], list[int], list[int]]:
    """Row numbers that are accepted, duplicate, rejected."""
    accepted, duplicate, rejected, seen = [], [], [], set()
    for number, cells in enumerate(csv.reader(io.StringIO(text)), start=1):
        if number == 1:
            continue
        if len(cells) != len(HEADINGS):
            rejected.append(number)
            continue
        kinds = (NAMES, NAMES, NAMES, TIMES, TIMES, AMOUNTS, AMOUNTS, WORDS)
        row = [kind.get(cell, cell) for kind, cell in zip(kinds, cells, strict=True)]
        order_id, ordered_at, paid_at, amount, refunded = row[0], row[3], row[4], row[5], row[6]
        if BAD in row or None in (order_id, ordered_at, amount) or amount < 0:
            rejected.append(number)
        elif tuple(row) in seen:
            duplicate.append(number)
        elif refunded is not None and refunded > 0 and paid_at is None:  # a refund needs a time
            seen.add(tuple(row))
            rejected.append(number)
        else:
            seen.add(tuple(row))
            accepted.append(number)
    return accepted, duplicate, rejected


def drawn(seed: int, rows: int = 400) -> str:
    """A file in which about every second row has an unusual cell, every tenth is repeated and a few are malformed."""
    rng = random.Random(seed)
    choices = [list(kind) for kind in (NAMES, NAMES, NAMES, TIMES, TIMES, AMOUNTS, AMOUNTS, WORDS)]
    made = []
    for place in range(rows):
        cells = [f"O{place}", f"M{place % 9}", *USUAL[2:]]
        for column in rng.sample(range(8), rng.choice([0, 0, 1, 1, 2])):
            cells[column] = rng.choice(choices[column])
        made.append(cells)
        if rng.random() < 0.1:
            again = list(rng.choice(made))
            made.append([" 12.50" if cell == "12.50" else cell for cell in again])
        if rng.random() < 0.02:
            made.append(rng.choice([cells[:-1], [*cells, "x"]]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([HEADINGS, *made])
    return out.getvalue()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_load_judges_every_row_as_the_reference_does(shop: Shop, files: Path, seed: int) -> None:
    text = drawn(seed)
    accepted, duplicate, rejected = reference(text)
    report = shop.load(write(files / "订单1.csv", text))
    assert sorted(row["row_number"] for row in shop.rows("rejects")) == rejected
    assert (report.accepted, report.duplicate, report.rejected) == (len(accepted), len(duplicate), len(rejected))
    lines = list(csv.reader(io.StringIO(text)))
    ids = {NAMES.get(lines[number - 1][0], lines[number - 1][0]) for number in accepted}
    assert {row["order_id"] for row in shop.rows("orders")} == ids
    assert min(len(accepted), len(duplicate), len(rejected)) > 10
