"""The same rows in any order, cut into any files, some told again, load by load: the same tables, lines of orders included."""

from __future__ import annotations

import csv
import io
import random
from itertools import groupby
from pathlib import Path

import pytest

from crm_core.simulate import simulate
from crm_core.simulate.shapes import SHAPES
from tests.ingest.corner_shop import Shop, open_shop
from tests.ingest.test_presets import TEXTS, WORLD

TABLES = ("members", "orders", "order_lines", "refunds", "products")
TOGETHER = {"taobao": None, "jd": None, "woocommerce": "order_number", "shopify": "Name", "online_retail": "InvoiceNo"}
"""Source → the heading whose rows mean something in one file only, if there is one."""
FIRST_ROW_TELLS = ("shopify",)


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("source", TOGETHER)
def test_files_shuffled_cut_and_repeated_give_the_tables_of_the_files_as_they_were(tmp_path: Path, source: str, seed: int) -> None:
    raw = tmp_path / "raw"
    simulate(raw, WORLD.members, WORLD.seed, WORLD.days, WORLD.until, shape=source)
    whole, pieces = open_shop(tmp_path / "whole", TEXTS), open_shop(tmp_path / "pieces", TEXTS)
    whole.load(raw, source=source)
    rng, parts = random.Random(seed), tmp_path / "parts"
    parts.mkdir()
    for path in sorted(raw / file.name for file in SHAPES[source] if file.source == source):
        if path.suffix == ".csv":
            cut(path, parts, source, rng)
        else:
            (parts / path.name).write_bytes(path.read_bytes())
    paths = sorted(parts.iterdir())
    rng.shuffle(paths)
    for path in paths:
        pieces.load(path, source=source)
    assert len(whole.rows("order_lines")) > 100
    for table in TABLES:
        assert told(pieces, table) == told(whole, table), table


def told(shop: Shop, table: str) -> list[str]:
    """What the rows of a table say; since when it is known is another matter, where each file tells of its own time."""
    return sorted(repr({name: value for name, value in row.items() if name[0] != "_"}) for row in shop.rows(table))


def cut(path: Path, into: Path, source: str, rng: random.Random) -> None:
    """Three files of the rows of one in another order, where every fifth row, or group of rows, stands in two."""
    content = path.read_bytes()
    encoding = "utf-8-sig"
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        encoding = "gb18030"
    headings, *rows = list(csv.reader(io.StringIO(content.decode(encoding), newline="")))
    heading = TOGETHER[source]
    place = headings.index(heading) if heading in headings else None
    groups = [[row] for row in rows]
    if place is not None:
        groups = [list(group) for _, group in groupby(sorted(rows, key=lambda row: row[place]), lambda row: row[place])]
    rng.shuffle(groups)
    if source not in FIRST_ROW_TELLS:
        for group in groups:
            rng.shuffle(group)
    for number in range(3):
        kept = [group for at, group in enumerate(groups) if at % 3 == number or (at % 5 == 0 and at % 3 == number - 1)]
        out = io.StringIO(newline="")
        csv.writer(out).writerows([headings, *(row for group in kept for row in group)])
        (into / f"{path.stem}{number}.csv").write_bytes(out.getvalue().encode(encoding))
