"""Phone numbers as exports have them, judged by the engine's patterns with the library for the rest, and by the library alone.

The mix is that of a mainland shop: 95 of a hundred are mobiles, three quarters of them bare, the others in their usual
spellings; the rest are numbers never given out, landlines, foreign numbers, masked ones, privacy numbers, cells that a
spreadsheet spoiled, and cells with two numbers.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from crm_core.ingest.phones import judge_phone, judged_phones

FORMS = ("{0}{1}{2}",) * 18 + ("{0} {1} {2}", "{0}-{1}-{2}", "+86{0}{1}{2}", "+86 {0}-{1}-{2}", "'{0}{1}{2}", "0086{0}{1}{2}")
MOBILES = (130, 132, 135, 136, 138, 139, 147, 150, 152, 155, 158, 159, 166, 173, 175, 176, 180, 186, 188, 189, 191, 199)
ODD = (
    ("{any11}", 15), ("0{area}-{any8}", 8), ("+1415{any7}", 2), ("+852 9{any7}", 2), ("+44 7911 {any6}", 1),
    ("{head}****{any4}", 8), ("{head}{any8} #{any4}", 2), ("{head}{any8}转{any3}", 1), ("{head}{any8}.0", 4),
    ("1.{any2}E+10", 2), ("{head}{any8}/{head}{any8}", 2), ("{head}{any7}", 1), ("+86{any11}", 1), ("无", 1),
)  # fmt: skip


def draw(count: int, seed: int = 11) -> list[str]:
    """`count` cells."""
    rng = random.Random(seed)
    odd = rng.choices([form for form, _ in ODD], [weight for _, weight in ODD], k=count)
    found = []
    for place in range(count):
        digits = f"{rng.randrange(10**16):016}"
        head = rng.choice(MOBILES)
        if rng.random() < 0.95:
            found.append(rng.choice(FORMS).format(head, digits[:4], digits[4:8]))
            continue
        parts = {f"any{size}": digits[:size] for size in (2, 3, 4, 6, 7, 8)}
        area = rng.choice(["10", "21", "20", "755", "571"])
        found.append(odd[place].format(head=head, any11=f"1{digits[:10]}", area=area, **parts))
    return found


def by_library(texts: list[str]) -> list[tuple[str | None, str | None]]:
    """Each cell put to phonenumbers, one by one: (number, why not)."""
    form = re.compile(r"^'|[\s\-()（）]", re.ASCII)
    return [judge_phone(form.sub("", text), "CN") for text in texts]


def by_engine(engine: Any, cells: Any) -> Any:
    """The same as a load does it: an Arrow table (place, value, valid, problem) of an Arrow table (place, value)."""
    import ibis

    with tempfile.TemporaryDirectory() as folder:
        return engine.to_pyarrow(judged_phones(engine, "CN", ibis.memtable(cells), Path(folder) / "staged"))


def cells_of(texts: list[str]) -> Any:
    """The texts as an Arrow table: place, value."""
    import pyarrow as pa

    return pa.table({"place": pa.array(range(len(texts))), "value": pa.array(texts)})


def answers(found: Any) -> list[tuple[str | None, str | None]]:
    """(number, why not) of each cell, in their order."""
    columns = (found.sort_by("place")[name].to_pylist() for name in ("value", "valid", "problem"))
    return [(number if good else None, why) for number, good, why in zip(*columns, strict=True)]


def run(count: int = 1_000_000) -> dict[str, float]:
    """Seconds of both and how many cells they disagree on."""
    import ibis

    texts, engine = draw(count), ibis.duckdb.connect()
    cells = cells_of(texts)
    by_engine(engine, cells.slice(0, 100))
    began = time.perf_counter()
    found = by_engine(engine, cells)
    between = time.perf_counter()
    library = by_library(texts)
    ended = time.perf_counter()
    different = sum(mine != theirs for mine, theirs in zip(answers(found), library, strict=True))
    return {"ours": between - began, "library": ended - between, "different": different}


def rows(count: int = 1_000_000) -> list[dict[str, Any]]:
    """Rows of the bench's table (goal: 20 times faster, no difference)."""
    found = run(count)
    ratio = found["library"] / found["ours"]
    return [
        {"step": f"{count:,} phones: ours", "seconds": found["ours"]},
        {
            "step": f"{count:,} phones: library one by one, {found['different']:.0f} differ",
            "seconds": found["library"],
            "ratio": round(ratio, 2),
            "goal": 20.0,
            "met": ratio >= 20 and not found["different"],
        },
    ]
