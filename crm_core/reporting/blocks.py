"""What a notebook shows: headline cards, tables, charts, definitions, 'not supplied', next steps,
provenance.

A block carries plain data under a MIME type of our own; the page is made from that data by our templates,
which escape everything. HTML that anything else emits is never published, so text of customers cannot
become markup. In JupyterLab the same templates draw the block at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crm_core.reporting import numbers
from crm_core.reporting.labels import Labels

MIME = "application/vnd.crm.block+json"
VISIBLE_ROWS = 7


@dataclass(frozen=True)
class Block:
    """One thing on the page: its kind, its language and its data (JSON values only)."""

    kind: str
    language: str
    data: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What the publisher reads."""
        return {"kind": self.kind, "language": self.language, "data": dict(self.data)}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {MIME: self.as_json(), "text/plain": f"[{self.kind}]"}
        if not os.environ.get("CRM_REPORT"):
            from crm_core.reporting import page

            bundle["text/html"] = page.render_alone(self.as_json())
        return bundle


def group(*blocks: Block) -> Block:
    """Several blocks shown below each other as one result of a cell."""
    return Block("group", blocks[0].language, {"blocks": [block.as_json() for block in blocks]})


def card(
    label: str,
    value: Any,
    unit: str,
    labels: Labels,
    *,
    currency: str = "CNY",
    before: Any = None,
    versus: str = "",
    better: str = "",
    sentence: str = "",
    metric: str = "",
) -> dict[str, Any]:
    """One headline number. `before` gives the change against `versus` (a date or a name): relative, or in
    points for percentages; `better` says which direction is good news ('up', 'down' or '' for neither).
    `metric` links its definition."""
    language = labels.language
    shown = numbers.show(value, unit, language=language, currency=currency)
    return {
        "label": label,
        "value": shown,
        "change": _change(value, before, unit, better, language),
        "versus": versus,
        "sentence": sentence,
        "definition": labels.metric(metric) if metric else None,
    }


def _change(value: Any, before: Any, unit: str, better: str, language: str) -> dict[str, str] | None:
    if numbers.is_null(before) or numbers.is_null(value):
        return None
    if unit == "percent":
        difference: float | None = float(value) - float(before)
        text = numbers.show(difference, "points", language=language, sign=True)
    else:
        difference = numbers.change(value, before)
        text = numbers.show(difference, "percent", language=language, sign=True)
    if difference is None:
        return None
    direction = "flat" if abs(difference) < 0.0005 else ("up" if difference > 0 else "down")
    tone = "neutral" if direction == "flat" or not better else ("good" if direction == better else "bad")
    return {"text": text.lstrip("+" + numbers.MINUS), "direction": direction, "tone": tone}


def headline(labels: Labels, *cards: Mapping[str, Any], sentence: str = "") -> Block:
    """The first thing a reader sees: a plain sentence (`**strong**` allowed) and cards made by `card`."""
    return Block("headline", labels.language, {"sentence": sentence, "cards": [dict(one) for one in cards]})


def note(labels: Labels, text: str, tone: str = "plain") -> Block:
    """A sentence; tone 'plain', 'good', 'bad' or 'warn'. `**strong**` is the only markup."""
    return Block("note", labels.language, {"text": text, "tone": tone})


def missing(labels: Labels, what: str, consequence: str = "") -> Block:
    """'Not supplied: …' in one line, in the place of an empty chart."""
    return Block("missing", labels.language, {"what": what, "consequence": consequence})


@dataclass(frozen=True)
class Column:
    """How one column of a table is shown: heading, unit, `bar` for a small bar behind fractions, metric for
    its definition."""

    heading: str
    unit: str = "text"
    bar: bool = False
    metric: str = ""


def table(
    frame: pd.DataFrame,
    columns: Mapping[str, Column],
    labels: Labels,
    *,
    title: str = "",
    currency: str = "CNY",
    more: str = "",
    total: Mapping[str, Any] | None = None,
    note: str = "",
) -> Block:
    """A table of the columns named, in that order; seven rows are visible, the rest opens on a click.

    `frame`: small pandas frame; `total`: a closing row of the same columns; bars are scaled to the column's
    greatest value.
    """
    shown = [_row(record, columns, labels, currency) for record in frame[list(columns)].to_dict("records")]
    for index, name in enumerate(columns):
        if columns[name].bar:
            _add_bars(shown, index, list(frame[name]))
    data: dict[str, Any] = {
        "title": title,
        "columns": [
            {"text": each.heading, "number": each.unit not in ("text", "date"), "bar": each.bar} for each in columns.values()
        ],
        "rows": shown[:VISIBLE_ROWS],
        "more": shown[VISIBLE_ROWS:],
        "more_label": more or labels.text("more_rows", count=max(0, len(shown) - VISIBLE_ROWS)),
        "total": _row(dict(total), columns, labels, currency) if total else None,
        "note": note,
        "definitions": [labels.metric(metric) for metric in dict.fromkeys(each.metric for each in columns.values()) if metric],
    }
    data["widths"] = _widths(data)
    return Block("table", labels.language, data)


def _row(record: Mapping[Any, Any], columns: Mapping[str, Column], labels: Labels, currency: str) -> list[dict[str, Any]]:
    return [
        {"text": numbers.show(record.get(name), column.unit, language=labels.language, currency=currency), "bar": None}
        for name, column in columns.items()
    ]


def _add_bars(rows: list[list[dict[str, Any]]], index: int, values: list[Any]) -> None:
    sizes = [0.0 if numbers.is_null(value) or isinstance(value, str) else abs(float(value)) for value in values]
    greatest = max(sizes, default=0.0)
    for row, size in zip(rows, sizes, strict=True):
        row[index]["bar"] = round(100 * size / greatest, 1) if greatest else 0


def _widths(data: Mapping[str, Any]) -> list[int]:
    """Column widths in per cent by the widest text; both halves of a table use them, so that they stay
    aligned."""
    rows = [*data["rows"], *data["more"], *([data["total"]] if data["total"] else [])]
    widest = []
    for index, column in enumerate(data["columns"]):
        texts = [column["text"], *(row[index]["text"] for row in rows)]
        widest.append(min(40, max(6, max(display_width(text) for text in texts))) + (9 if column["bar"] else 4))
    whole = sum(widest)
    return [round(100 * width / whole) for width in widest]


def display_width(text: str) -> int:
    """Width in half-width characters: a Chinese character takes two."""
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)


def steps(labels: Labels, *items: tuple[str, str]) -> Block:
    """What to do next: pairs of a sentence and the command that starts it ('' for none)."""
    return Block("steps", labels.language, {"items": [{"text": text, "command": command} for text, command in items]})
