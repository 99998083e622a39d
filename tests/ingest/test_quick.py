"""The quick way of reading a cell says what the closer look says, or leaves the cell to it."""

from __future__ import annotations

from typing import Any

import ibis
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_core.config.sources import FieldSettings
from crm_core.ingest import casts, quick
from tests.conftest import few

ENGINE = ibis.duckdb.connect()
NULLS = ("", "NULL", "0000-00-00")
PIECES = st.sampled_from(
    ["2026-10-31", "2026-1-31", "1026-10-31", "9999-12-31", "08:26:00", "8:26", "24:00:00", "T", "Z", "+08:00", "+08", ".5",
     " ", "\t", "\f", "\v", "\u3000", "\u200b", "12", "-", "+", "0", "007", ".50", ".505", "1,234", "1e5", "999999999999999999",
     "NULL", "infinity", "天猫", "元", "_", "'"]
)  # fmt: skip
CELL = st.none() | st.lists(PIECES, max_size=4).map("".join) | st.text(max_size=8).map(lambda text: text.replace("\0", ""))


def both(cells: list[str | None], kind: str, **more: Any) -> list[tuple[Any, Any]]:
    """(quick, slow) of each cell."""
    field = FieldSettings(heading="h", type=kind, **more)
    table = ibis.memtable({"raw": cells}, schema={"raw": "string"})
    cast = quick.tried(table.raw, field, NULLS, False)
    if cast is not None:
        table = table.mutate(tried=cast).view()
    text = casts.cell(table.raw, NULLS)
    slow = casts.local_time(text, field) if kind == "time" else casts.typed(text, field, ibis.NA, False)
    value = quick.read(table.raw, table.tried if cast is not None else None, field, NULLS, slow)
    rows = ENGINE.to_pyarrow(table.select(quick=value, slow=slow)).to_pylist()
    return [(row["quick"], row["slow"]) for row in rows]


@pytest.mark.parametrize("kind", ["text", "integer", "money", "price", "time", "date"])
@settings(max_examples=few(40), deadline=None)
@given(cells=st.lists(CELL, min_size=1, max_size=60))
@example(["2026-1-31 08:26:00Z", "2026-10-31 08:26+08", "1700-01-01", "1234567890123456789", "12.5", "-0.00", "12.505"])
def test_the_quick_way_says_what_the_closer_look_says(kind: str, cells: list[str | None]) -> None:
    for number, (soon, slow) in enumerate(both(cells, kind)):
        assert soon == slow, (kind, cells[number])


@settings(max_examples=few(20), deadline=None)
@given(cells=st.lists(CELL, min_size=1, max_size=60))
def test_known_words_are_found_at_once_and_others_after_trimming(cells: list[str | None]) -> None:
    for soon, slow in both(cells, "text", values={"天猫": "tmall", "12": "store", " 0": "jd"}):
        assert soon == slow
