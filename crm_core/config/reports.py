"""conf/reports.yml: which notebooks the nightly run makes, how many at a time, how long they may take, and the gate: checks
of the data that must hold before anything but data_health is made.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from crm_core.config.loader import Settings

Notebook = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]


class ScheduleSettings(Settings):
    """When `crm serve` runs the nightly flow."""

    cron: str = Field("30 2 * * *", description="five fields: minute hour day month weekday")
    time_zone: str = Field("", description="IANA zone of the cron; empty = the project's")


Check = Literal[
    "balance",
    "rejected_share",
    "duplicate_share",
    "conflict_share",
    "freshness_days",
    "days_since_load",
    "broken_rules",
    "completeness",
    "validity",
    "drift",
    "gap_days",
    "impossible_share",
]
OF_TABLE, OF_SOURCE, OF_COLUMN = "table", "source", "table.column"
OF: dict[str, tuple[str, ...]] = {
    "balance": ("", OF_SOURCE),
    "rejected_share": ("", OF_SOURCE),
    "duplicate_share": ("", OF_SOURCE),
    "conflict_share": ("", OF_SOURCE),
    "freshness_days": (OF_TABLE,),
    "days_since_load": ("", OF_SOURCE),
    "broken_rules": ("", OF_TABLE),
    "completeness": (OF_COLUMN,),
    "validity": (OF_COLUMN,),
    "drift": ("", OF_TABLE, OF_COLUMN),
    "gap_days": ("", OF_TABLE),
    "impossible_share": ("",),
}
"""What each check may be `of`; '' = of everything."""
AT_LEAST = ("completeness", "validity")
"""Checks whose figure must not fall below `at_least`; the others must not exceed `at_most`."""


class GateCheck(Settings):
    """One check of the gate. Figures: balance – loads that do not add up in rows or money; rejected_share,
    duplicate_share – of the rows of the newest load (of each source); conflict_share – of the records that it states, those
    told otherwise for the same time, the worst table; freshness_days – from the table's newest fact to the date of the run;
    days_since_load – from a source's newest load to now; broken_rules – rows of the lake; completeness, validity – share of
    a column's rows; drift – the greatest population stability index of the newest facts; gap_days – days without facts in
    the last 28 days; impossible_share – of orders that contradict themselves, the worst kind.
    """

    check: Check
    of: str = Field("", description="a table, table.column or source, as the check asks")
    at_most: float | None = Field(None, ge=0, description="the greatest figure that passes")
    at_least: float | None = Field(None, ge=0, le=1, description="the least share that passes")

    @model_validator(mode="after")
    def _fits(self) -> GateCheck:
        wanted, other = ("at_least", "at_most") if self.check in AT_LEAST else ("at_most", "at_least")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"check '{self.check}' takes `{wanted}` and no `{other}`; write e.g. {wanted}: 0.9")
        self._of_is_of_its_kind()
        return self

    def _of_is_of_its_kind(self) -> None:
        allowed = OF[self.check]
        kind = OF_COLUMN if "." in self.of else self.of and "name"
        if not self.of and "" not in allowed:
            raise ValueError(f"check '{self.check}' needs `of`: a {allowed[0]}")
        if (kind == OF_COLUMN and OF_COLUMN not in allowed) or (kind == "name" and not {OF_TABLE, OF_SOURCE} & set(allowed)):
            wanted = " or a ".join(filter(None, allowed))
            raise ValueError(f"check '{self.check}' is of {'a ' + wanted if wanted else 'everything'}, not of '{self.of}'")


class ReportSettings(Settings):
    """How reports are made."""

    nightly: tuple[Notebook, ...] = Field(
        ("data_health", "rfm_segments", "member_tags", "member_value", "campaign_result"),
        min_length=1,
        description="notebooks, in this order",
    )
    concurrency: int = Field(2, ge=1, le=32, description="notebooks that run at the same time")
    timeout_seconds: float = Field(900, gt=0, description="limit for one notebook; it is stopped then and counts as failed")
    cell_timeout_seconds: float = Field(600, gt=0, description="limit for one cell")
    parameters: dict[Notebook, dict[str, Any]] = Field(
        default_factory=dict, description="values that replace the defaults of a notebook's parameters"
    )
    schedule: ScheduleSettings = ScheduleSettings()
    listed_runs: int = Field(30, ge=1, description="runs that the index lists below the reports")
    gate: tuple[GateCheck, ...] = Field((), description="checks that must hold before anything but data_health is made")
    expected_days: dict[Notebook, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="source → days between two loads; default: what its history says"
    )

    @field_validator("nightly")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in value if value.count(name) > 1})
        if repeated:
            raise ValueError(f"'{repeated[0]}' is listed twice; name each notebook once")
        return value
