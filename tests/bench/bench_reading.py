"""GB18030 to UTF-8 as a load does it, against one codec in one process and (where it is there) iconv."""

from __future__ import annotations

import codecs
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crm_core.config.sources import ReaderSettings
from crm_core.ingest import spool

GOAL_MB_PER_SECOND = 200
LINE = (
    "202610{0:06d},会员{0:06d},1380013{1:04d},2026-10-01 08:26:00,2026-10-02 08:26:00,{1:d}.50,天猫旗舰店,"
    "上海市浦东新区世纪大道{1:d}号,已完成,支付宝\n"
)
HEADINGS = "订单编号,会员号,手机,下单时间,付款时间,金额,店铺,地址,状态,支付方式\n"


def run(folder: Path, megabytes: int = 400) -> list[dict[str, Any]]:
    """Rows for the table of `make bench`: seconds, and megabytes of the file per second as `ratio` and `goal`."""
    path = folder / "orders.csv"
    block = "".join(LINE.format(number, number % 10_000) for number in range(50_000)).encode("gb18030")
    with path.open("wb") as out:
        out.write(HEADINGS.encode("gb18030"))
        for _ in range(megabytes * 1_000_000 // len(block)):
            out.write(block)
    size = path.stat().st_size / 1e6
    settings = ReaderSettings()
    found = {
        "as a load decodes it": _best(lambda: spool.decode(path, folder / "copy", settings, compressed=False)),
        "one codec in one process": _best(lambda: _codec(path, folder / "codec")),
    }
    if (folder / "copy").read_bytes() != (folder / "codec").read_bytes().split(b"\n", 1)[1]:
        raise SystemExit("the two ways of decoding differ")
    if shutil.which("iconv"):
        found["iconv"] = _best(lambda: _iconv(path, folder / "iconv"))
    for left in folder.iterdir():
        left.unlink()
    rows: list[dict[str, Any]] = [
        {"step": f"GB18030, {size:.0f} MB, {name} (MB/s)", "seconds": seconds, "ratio": round(size / seconds)}
        for name, seconds in found.items()
    ]
    rows[0] |= {"goal": GOAL_MB_PER_SECOND, "met": rows[0]["ratio"] >= GOAL_MB_PER_SECOND}
    return rows


def _best(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return round(min(seconds), 2)


def _codec(path: Path, target: Path) -> None:
    decoder = codecs.getincrementaldecoder("gb18030")("strict")
    with path.open("rb") as source, target.open("wb") as out:
        while block := source.read(1 << 20):
            out.write(decoder.decode(block).encode())
        out.write(decoder.decode(b"", final=True).encode())


def _iconv(path: Path, target: Path) -> None:
    with target.open("wb") as out:
        subprocess.run(["iconv", "-f", "GB18030", "-t", "UTF-8", os.fspath(path)], stdout=out, check=True)
