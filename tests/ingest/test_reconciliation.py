"""Whatever a file holds, its rows add up: read = accepted + duplicate + rejected, and money in = money in
the lake.
"""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ingest.corner_shop import HEADINGS, open_shop, order, text_of

CELL = st.one_of(
    st.sampled_from(
        ["", "NULL", "天猫", "2026-10-31", "2027-01-01", "12.50", "1,000", "-3", "1.38E+10", '"', "a,b", "a\nb", "'186"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=6),
)
ROW = st.one_of(
    st.integers(0, 6).map(order),
    st.tuples(st.integers(0, 6), st.integers(0, 7), CELL).map(
        lambda it: [*order(it[0])[: it[1]], it[2], *order(it[0])[it[1] + 1 :]]
    ),
    st.lists(CELL, min_size=8, max_size=8),
)
BLANKS = 3  # at most so many raw lines are drawn, and one may be blank
RAW = st.sampled_from(["bad", "1,2,3", ",".join("x" * 12), '"open', 'a,"b"c,d,e,f,g,h,i', ""])


@st.composite
def csv_text(draw: st.DrawFn) -> tuple[str, bool]:
    """A file of well-formed rows, sometimes with malformed lines among them; and whether it has such."""
    rows = draw(st.lists(ROW, max_size=12))
    text = text_of(rows)
    raw = draw(st.lists(RAW, max_size=3))
    return text + "".join(line + "\n" for line in raw) + text_of(draw(st.lists(ROW, max_size=4))).split("\n", 1)[1], bool(raw)


@given(st.lists(csv_text(), min_size=1, max_size=2))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_and_money_always_add_up(texts: list[tuple[str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shop = open_shop(Path(folder) / "shop")
        for place, (text, _) in enumerate(texts):
            (Path(folder) / f"订单{place}.csv").write_text(text, encoding="utf-8")
        report = shop.load(Path(folder))
        assert report.adds_up
        new = [file for file in report.files if not file.known_load]
        refused = shop.rows("rejects")
        for file in new:
            numbers = [row["row_number"] for row in refused if row["file"] == file.name]
            assert len(numbers) == len(set(numbers)) == file.rejected
            assert all(2 <= number <= file.read + 1 + BLANKS for number in numbers)
            assert file.headings == tuple(HEADINGS)
        versions = shop.lake.table("orders_versions").net_amount.sum().to_pyarrow().as_py() or Decimal(0)
        (balance,) = report.balances
        assert balance.rows == balance.written == versions
