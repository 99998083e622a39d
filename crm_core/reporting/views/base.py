"""What every report's view has: the reader's language, small frames from ibis tables, masking, the closing
provenance.

A view is made once per notebook from a workspace and has one method per section, each returning a block. It
is given the workspace, it does not open one: rooms know only the floors below them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol

import ibis.expr.types as ir
import pandas as pd

from crm_core import __version__
from crm_core.models import ModelCard
from crm_core.reporting import blocks, charts, numbers
from crm_core.reporting.blocks import Block, Column
from crm_core.reporting.labels import Labels, language_of
from crm_core.reporting.publish import git_commit
from crm_core.reporting.views.model_words import ModelWords

MOST_ROWS = 5000


class Opened(Protocol):
    """What views use of a `Workspace`."""

    config: Any

    @property
    def tables(self) -> Any: ...
    @property
    def lake(self) -> Any: ...
    @property
    def ledger(self) -> Any: ...
    @property
    def snapshot(self) -> Any: ...
    @property
    def as_of(self) -> date: ...
    @property
    def features(self) -> ir.Table: ...
    @property
    def segments(self) -> ir.Table: ...
    @property
    def segment_basis(self) -> Any: ...
    @property
    def tags(self) -> ir.Table: ...
    @property
    def scores(self) -> ir.Table: ...
    @property
    def models(self) -> Any: ...
    def previous_date(self, name: str = ...) -> date | None: ...


class View:
    """Base of the reports' views."""

    reads: tuple[str, ...] = ()
    """Lake tables that the report stands on, for its provenance."""
    metrics: tuple[str, ...] = ()
    """Metrics whose definitions close the report."""

    def __init__(self, workspace: Opened) -> None:
        """`workspace`: an opened `crm_core.Workspace`."""
        self.workspace = workspace
        self.labels = Labels(language_of(workspace))
        self.currency: str = workspace.config.project.currency
        self.min_cell: int = workspace.config.project.min_cell

    @cached_property
    def words(self) -> ModelWords:
        """Models, measures and verdicts in the reader's language."""
        return ModelWords(self.labels, self.currency)

    @property
    def language(self) -> str:
        """zh or en."""
        return self.labels.language

    def text(self, key: str, **values: Any) -> str:
        """A fixed text of labels.yml."""
        return self.labels.text(key, **values)

    def show(self, value: Any, unit: str, sign: bool = False) -> str:
        """A number as text in the reader's language; counts of people below the project's `min_cell` as
        '<n'."""
        if unit == "people" and self.few(value):
            return f"<{self.min_cell}"
        return numbers.show(value, unit, language=self.language, currency=self.currency, sign=sign)

    def few(self, value: Any) -> bool:
        """Whether a count of people is so small that it is masked."""
        return not numbers.is_null(value) and 0 < value < self.min_cell

    def people(self, value: Any) -> str:
        """A count of members for a sentence, without the unit; masked like any other."""
        return self.show(value, "people").removesuffix(numbers.SUFFIX[self.language]["people"])

    def span(self, first: Any, last: Any) -> str:
        """'2026-10-01' or '2026-10-01 – 2026-10-03'."""
        return str(first) if first == last else f"{first} – {last}"

    def local(self, moment: datetime) -> str:
        """A naive UTC time as the project's clocks show it: '2026-10-01 08:26'."""
        return moment.replace(tzinfo=UTC).astimezone(self.workspace.config.project.zone).strftime("%Y-%m-%d %H:%M")

    def card(self, key: str, value: Any, unit: str, **more: Any) -> dict[str, Any]:
        """A headline card labelled by the text `key`. Beside a count that is masked no change is told, and of a count from one."""
        if unit == "people" and (self.few(value) or self.few(more.get("before"))):
            value, more = self.show(value, unit) if self.few(value) else value, {**more, "before": None}
        return blocks.card(self.text(key), value, unit, self.labels, currency=self.currency, **more)

    def opening(self, *cards: Mapping[str, Any], sentence: str) -> Block:
        """The opening block."""
        return blocks.headline(self.labels, *cards, sentence=sentence)

    def table(self, frame: pd.DataFrame, columns: Mapping[str, Column], **more: Any) -> Block:
        """A table block in the project's currency."""
        return blocks.table(frame, columns, self.labels, currency=self.currency, **more)

    def columns(self, **specs: str) -> dict[str, Column]:
        """Columns of a table by name: 'label [unit] [bar] [@metric]', the label a key of labels.yml."""
        found = {}
        for name, spec in specs.items():
            label, *words = spec.split()
            metric = next((word[1:] for word in words if word.startswith("@")), "")
            unit = next((word for word in words if word != "bar" and not word.startswith("@")), "text")
            found[name] = Column(self.text(label), unit, "bar" in words, metric)
        return found

    def bars(self, rows: pd.DataFrame, value: str, unit: str, key: str, *, signed: bool = False, **values: Any) -> Block:
        """Bars of `value` by the column 'title', under the texts `key` and `key`_sub."""
        title, subtitle = self.text(key, **values), self.text(f"{key}_sub", **values)
        return charts.bars(
            rows, "title", value, unit, self.labels, title=title, subtitle=subtitle, currency=self.currency, signed=signed,
        )  # fmt: skip

    def shares(self, rows: pd.DataFrame, key: str) -> Block:
        """Share of members beside share of the amount paid, by the column 'title'."""
        series = {"member_share": self.text("member_share"), "amount_share": self.text("amount_share")}
        title, subtitle = self.text(key), self.text(f"{key}_sub")
        return charts.paired_bars(rows, "title", series, "percent", self.labels, title=title, subtitle=subtitle)

    def note(self, key: str, tone: str = "plain", **values: Any) -> Block:
        """A sentence of labels.yml as a block."""
        return blocks.note(self.labels, self.text(key, **values), tone)

    def missing(self, what: str, consequence: str = "") -> Block:
        """'Not supplied: what'."""
        return blocks.missing(self.labels, what, consequence)

    def no_buyers(self) -> Block:
        """Why nothing can be said about buying."""
        if self.workspace.tables.supplied("orders"):
            return self.note("no_buyers")
        return self.missing(self.labels.name("tables", "orders"), self.text("no_orders_cost"))

    def unforeseen(self, model: str, card: ModelCard | None) -> Block:
        """Why a model foretells nothing: it is not switched on, or what was found and is needed."""
        if card is None:
            return self.missing(self.words.name(model), self.text("model_off"))
        return blocks.note(self.labels, self.words.why(card), "warn")

    def steps(self, *items: tuple[str, str]) -> Block:
        """What to do next."""
        return blocks.steps(self.labels, *items)

    def masked(self, rows: pd.DataFrame, count: str, also: Sequence[str] = ()) -> pd.DataFrame:
        """`rows` with small counts of members masked."""
        return numbers.mask(rows, count, self.min_cell, also)

    def provenance(self) -> Block:
        """As-of date, snapshot, tables read with versions and rows, settings, code, and the definitions
        used."""
        workspace = self.workspace
        snapshot, config = workspace.snapshot, workspace.config.hash()
        commit = git_commit()[:10]
        read = self._read()
        facts = [
            (self.text("as_of"), f"{workspace.as_of} ({workspace.config.project.time_zone})"),
            (self.text("snapshot"), str(snapshot.id) if snapshot else numbers.NOTHING),
            (self.text("settings"), config[:12]),
            (self.text("code"), f"crm-core {__version__}" + (f", {commit}" if commit else "")),
        ]
        columns = self.columns(table="table", version="version count", rows="rows count")
        data = {
            "project": workspace.config.project.name,
            "as_of": str(workspace.as_of),
            "time_zone": workspace.config.project.time_zone,
            "snapshot": snapshot.id if snapshot else None,
            "versions": dict(zip(read["name"], read["version"].tolist(), strict=True)),
            "rows": dict(zip(read["name"], read["rows"].tolist(), strict=True)),
            "config": config,
            "facts": facts,
            "tables": dict(self.table(read, columns).data) if len(read) else None,
            "definitions": [self.labels.metric(metric) for metric in self.metrics],
        }
        return Block("provenance", self.language, data)

    def _read(self) -> pd.DataFrame:
        snapshot, rows = self.workspace.snapshot, []
        for name in self.reads:
            version = snapshot.versions.get(name) if snapshot else None
            if version is not None:
                count = scalar(self.workspace.lake.table(name, snapshot).count())
                rows.append({"name": name, "table": self.labels.name("tables", name), "version": version, "rows": count})
        return pd.DataFrame(rows, columns=["name", "table", "version", "rows"])


def frame(table: ir.Table) -> pd.DataFrame:
    """A small ibis table as pandas, decimals as floats. At most MOST_ROWS rows: reports show totals, never
    members."""
    found = table.limit(MOST_ROWS).to_pyarrow().to_pandas()
    for name in found.columns:
        values = found[name]
        if values.dtype == object and values.map(lambda value: isinstance(value, Decimal)).any():
            found[name] = values.astype("float64")
    return found


def scalar(value: Any) -> Any:
    """One ibis scalar as a Python value; a decimal as a float."""
    found = value.to_pyarrow().as_py()
    return float(found) if isinstance(found, Decimal) else found


def first_row(table: ir.Table) -> dict[str, Any]:
    """The only row of an aggregate as a dict, decimals as floats."""
    rows = table.limit(1).to_pyarrow().to_pylist()
    return {name: float(v) if isinstance(v, Decimal) else v for name, v in (rows[0] if rows else {}).items()}


def total(values: Iterable[Any]) -> float:
    """Sum of what is a number (masked cells are texts)."""
    return float(sum(value for value in values if not isinstance(value, str) and not numbers.is_null(value)))
