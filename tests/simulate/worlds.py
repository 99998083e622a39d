"""Small simulated worlds for tests, and a reader of the raw files as a person would open them: all text."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from python_calamine import CalamineWorkbook

from crm_core.simulate import simulate

UNTIL = date(2026, 10, 31)
FEEDS = (
    "会员资料", "订单", "订单明细", "退款", "浏览行为", "会员互动", "客服记录", "消息记录", "授权记录",
    "营销名单", "营销活动", "商品", "商机", "合同回款",
)  # fmt: skip


def small(folder: Path, **changes: Any) -> Path:
    """A world of 500 members over 300 days in `folder`, unless told otherwise."""
    simulate(folder, **{"members": 500, "days": 300, "until": UNTIL, **changes})
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def raw(folder: Path, feed: str) -> pa.Table:
    """All rows of one feed, every cell as text, empty cells as ''."""
    paths = sorted(path for path in folder.iterdir() if path.name.split(".")[0].split("_")[0] == feed)
    return pa.concat_tables([_read(path) for path in paths])


def _read(path: Path) -> pa.Table:
    if path.suffix == ".xlsx":
        head, *rows = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
        return pa.table({str(name): [str(row[place]) for row in rows] for place, name in enumerate(head)})
    coded = "gb18030" if path.name in ("会员资料.csv", "退款.csv", "营销活动.csv", "商机.csv") else "utf-8"
    content = pa.input_stream(path, compression="detect").read().decode(coded).removeprefix("\ufeff")
    head = content.split("\n", 1)[0].replace('"', "").split(",")
    options = pa_csv.ConvertOptions(column_types={name: pa.string() for name in head}, strings_can_be_null=False)
    return pa_csv.read_csv(pa.BufferReader(content.encode()), convert_options=options)


def truth(folder: Path, name: str) -> pa.Table:
    """One table of truth/."""
    return pq.read_table(folder / "truth" / f"{name}.parquet")
