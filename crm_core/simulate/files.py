"""The raw files: which feed goes to which file in which encoding; a writer appends block by block."""

from __future__ import annotations

import gzip
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from crm_core.errors import InputError
from crm_core.simulate.arrays import Ints

BOM = "\ufeff".encode()


@dataclass(frozen=True)
class FeedFile:
    """File of one feed; `{period}` in the name makes it one file for each period."""

    name: str
    encoding: str


FILES = {
    "members": FeedFile("会员资料.csv", "gb18030"),
    "orders": FeedFile("订单_{period}.csv", "utf-8-sig"),
    "order_lines": FeedFile("订单明细_{period}.csv", "utf-8"),
    "refunds": FeedFile("退款.csv", "gb18030"),
    "journey": FeedFile("浏览行为_{period}.csv", "utf-8"),
    "engagement": FeedFile("会员互动_{period}.csv", "utf-8-sig"),
    "service": FeedFile("客服记录.csv", "utf-8-sig"),
    "messaging": FeedFile("消息记录_{period}.csv", "utf-8"),
    "consents": FeedFile("授权记录.csv.gz", "utf-8"),
    "audiences": FeedFile("营销名单.csv", "utf-8-sig"),
    "campaigns": FeedFile("营销活动.csv", "gb18030"),
    "products": FeedFile("商品.xlsx", "xlsx"),
    "opportunities": FeedFile("商机.csv", "gb18030"),
    "contract_payments": FeedFile("合同回款.csv", "utf-8-sig"),
}


@dataclass(frozen=True)
class Sheet:
    """One feed's rows: columns by heading, each row's month (index) where there is a file for each period,
    and how many of the rows are repetitions or must be refused."""

    feed: str
    columns: dict[str, pa.Array]
    month: Ints | None
    repeated: int
    refused: int

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


class RawFiles:
    """Writes sheets to a folder, each feed in its own file, encoding and style."""

    def __init__(self, folder: Path, periods: list[str]) -> None:
        """`periods` names the period that each month belongs to, month by month."""
        self._folder, self._periods = folder, periods
        self._open: dict[str, IO[bytes]] = {}
        self._closing = ExitStack()
        self.rows: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def write(self, sheet: Sheet) -> None:
        """Appends a sheet; rows with a month must come in order of month."""
        self.repeated[sheet.feed] += sheet.repeated
        self.refused[sheet.feed] += sheet.refused
        if not len(sheet):
            return
        if FILES[sheet.feed].encoding == "xlsx":
            write_workbook(self._folder / FILES[sheet.feed].name, sheet.columns)
            self.rows[FILES[sheet.feed].name] += len(sheet)
            return
        table = pa.table(sheet.columns)
        if sheet.month is None:
            self._append(sheet.feed, FILES[sheet.feed].name, table)
            return
        first = [place for place, name in enumerate(self._periods) if place == 0 or name != self._periods[place - 1]]
        edges: Ints = np.append(np.searchsorted(sheet.month, first), len(sheet))
        for place, start in zip(first, range(len(first)), strict=True):
            part = table.slice(int(edges[start]), int(edges[start + 1] - edges[start]))
            if part.num_rows:
                self._append(sheet.feed, FILES[sheet.feed].name.format(period=self._periods[place]), part)

    def close(self) -> None:
        """Closes every file."""
        self._closing.close()
        self._open.clear()

    def _append(self, feed: str, name: str, table: pa.Table) -> None:
        encoding, first = FILES[feed].encoding, name not in self._open
        if first:
            self._open[name] = self._start(name, encoding)
        buffer = pa.BufferOutputStream()
        pa_csv.write_csv(table, buffer, pa_csv.WriteOptions(include_header=first, batch_size=8_192))
        written = buffer.getvalue()
        if encoding == "gb18030":
            self._open[name].write(str(written, "utf-8").encode(encoding))
        else:
            self._open[name].write(written)
        self.rows[name] += table.num_rows

    def _start(self, name: str, encoding: str) -> IO[bytes]:
        file = self._closing.enter_context((self._folder / name).open("wb"))
        if name.endswith(".gz"):
            # no name and no time in the head: the same seed gives the same bytes
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=4, mtime=0)
            self._closing.callback(packed.close)
            return cast(IO[bytes], packed)
        if encoding == "utf-8-sig":
            file.write(BOM)
        return file


def write_workbook(path: Path, columns: dict[str, pa.Array]) -> None:
    """A small sheet as .xlsx, every cell as text. InputError where the extra `excel` is not installed."""
    try:
        import xlsxwriter
    except ImportError:
        raise InputError("writing 商品.xlsx needs xlsxwriter; install the extra: pip install 'crm-core[excel]'") from None
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    content = BytesIO()
    with xlsxwriter.Workbook(content, options) as book:
        book.set_properties({"created": datetime(2020, 1, 1)})
        sheet = book.add_worksheet("商品")
        sheet.write_row(0, 0, list(columns))
        rows = zip(*(column.cast(pa.string()).to_pylist() for column in columns.values()), strict=True)
        for place, row in enumerate(rows, 1):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write_string(place, column, value)
    path.write_bytes(content.getvalue())
