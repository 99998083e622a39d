"""A workspace for flows: the corner shop of the ingest tests with an inbox, and notebooks of two cells."""

from __future__ import annotations

import json
from pathlib import Path

from tests.ingest.corner_shop import EXAMPLE, order, text_of

PHONE = "13800130001"
GOOD = "greeting = 'hello'"
BAD = f"raise ValueError('no such member {PHONE}')"


def make(root: Path, notebooks: dict[str, str]) -> Path:
    """A workspace folder with one order file in its inbox and `notebooks` (name → code of its one cell)."""
    (root / "conf" / "sources").mkdir(parents=True)
    (root / "conf" / "sources" / "corner_shop.yml").write_text(EXAMPLE, encoding="utf-8")
    names = "".join(f"\n  - {name}" for name in notebooks)
    (root / "conf" / "reports.yml").write_text(f"nightly:{names}\ntimeout_seconds: 120\n", encoding="utf-8")
    for name, code in notebooks.items():
        write_notebook(root, name, code)
    deliver(root, "订单.csv", text_of([bought(number) for number in range(1, 40)]))
    return root


def bought(number: int) -> list[str]:
    """The cells of an order of 2025: loads refuse rows that are dated later than the clock of the machine."""
    moment = f"2025-10-{number % 28 + 1:02d} 08"
    return order(number, ordered_at=f"{moment}:26:00", paid_at=f"{moment}:27:00")


def deliver(root: Path, name: str, text: str) -> None:
    """Puts a file into the inbox."""
    folder = root / "data" / "inbox" / "corner_shop"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def close_gate(root: Path) -> None:
    """A gate that the shop cannot pass, as its orders have no city; data_health joins the nightly set."""
    settings = root / "conf" / "reports.yml"
    text = settings.read_text(encoding="utf-8").replace("nightly:", "nightly:\n  - data_health")
    gate = "gate:\n  - {check: completeness, of: orders.city, at_least: 0.9}\n"
    settings.write_text(text + gate, encoding="utf-8")


def write_notebook(root: Path, name: str, code: str) -> None:
    """A notebook with the parameter that every notebook has, and one more."""
    folder = root / "notebooks"
    folder.mkdir(exist_ok=True)
    cells = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {name}"},
        _code("parameters", 'as_of: str = ""  # date\ntimes: int = 1  # how often', ["parameters"]),
        _code("work", code, []),
    ]
    content = {"cells": cells, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}
    (folder / f"{name}.ipynb").write_text(json.dumps(content), encoding="utf-8")


def _code(id_: str, source: str, tags: list[str]) -> dict[str, object]:
    return {
        "cell_type": "code", "id": id_, "metadata": {"tags": tags}, "source": source, "outputs": [],
        "execution_count": None,
    }  # fmt: skip
