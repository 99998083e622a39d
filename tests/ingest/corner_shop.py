"""A small shop to load files into: the example of config/sources.py's docstring, with helpers that write
its files.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import crm_core.config.sources as sources
from crm_core.config import Config, EngineSettings
from crm_core.ingest import LoadReport, ingest
from crm_core.store import Lake, Ledger, Vault, connect

EXAMPLE = textwrap.dedent((sources.__doc__ or "").split("One example:\n\n")[1])
PROJECT = "time_zone: Asia/Shanghai\ncurrency: CNY\n"
AT = datetime(2026, 11, 1)
HEADINGS = ["订单编号", "会员号", "联系手机", "下单时间", "付款时间", "总金额", "退款金额", "渠道"]
LINES = ["订单编号", "下单时间", "商家编码", "数量", "单价"]


@dataclass
class Shop:
    """A workspace in a folder, with one source."""

    root: Path
    config: Config
    lake: Lake
    vault: Vault
    ledger: Ledger

    def load(self, *paths: Path, source: str = "corner_shop", **options: Any) -> LoadReport:
        """Loads files as of 2026-11-01 00:00 UTC."""
        return ingest(self.config, self.lake, self.vault, source, list(paths), **{"at": AT, **options})

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The content of a lake table, sorted by its text."""
        found = self.lake.table(table)
        kept = [name for name in found.columns if name not in ("load_id", "recorded_at", "_month")]
        return sorted(found.select(*kept).to_pyarrow().to_pylist(), key=repr)

    def content(self) -> dict[str, list[dict[str, Any]]]:
        """Everything that the lake and the vault hold, without load ids and times of recording."""
        names = ("orders", "order_lines", "refunds", "identities", "rejects", "orders_versions")
        found = {name: self.rows(name) for name in names}
        found["accounts"] = sorted(self.vault.accounts().drop("load_id").to_pyarrow().to_pylist(), key=repr)
        found["phones"] = sorted(self.vault.contacts("phone").to_pyarrow().to_pylist(), key=repr)
        return found


def open_shop(root: Path, texts: Mapping[str, str] | None = None) -> Shop:
    """A shop in `root`; `texts` are more settings files."""
    config = Config({"project.yml": PROJECT, "sources/corner_shop.yml": EXAMPLE, **(texts or {})})
    ledger = Ledger.in_folder(root / "ledger")
    engine = connect(EngineSettings(memory_limit="1GB", threads=2), root / "spill")
    return Shop(root, config, Lake(root / "lake", ledger, engine), Vault(root / "vault", ledger, engine), ledger)


def order(number: int, **changes: str) -> list[str]:
    """The cells of one order, good unless changed; keys are those of the settings' fields."""
    cells = {
        "order_id": f"A{number}",
        "member_no": f"M{number % 7}",
        "mobile": f"1380013{number % 10_000:04d}",
        "ordered_at": f"2026-10-{number % 28 + 1:02d} 08:26:00",
        "paid_at": f"2026-10-{number % 28 + 1:02d} 08:27:00",
        "amount": f"{number % 90 + 10}.50",
        "refunded": "",
        "channel": "天猫",
    }
    return list({**cells, **changes}.values())


def text_of(rows: Iterable[list[str]], headings: list[str] = HEADINGS, delimiter: str = ",") -> str:
    """A CSV with headings."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return out.getvalue()


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """`text` as bytes in `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def orders_file(folder: Path, *numbers: int, name: str = "订单1.csv") -> Path:
    """A file of good orders."""
    return write(folder / name, text_of(order(number) for number in numbers))
