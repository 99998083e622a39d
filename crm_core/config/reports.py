"""conf/reports.yml: which notebooks the nightly run makes, how many at a time, and how long they may take."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator

from crm_core.config.loader import Settings

Notebook = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]


class ScheduleSettings(Settings):
    """When `crm serve` runs the nightly flow."""

    cron: str = Field("30 2 * * *", description="five fields: minute hour day month weekday")
    time_zone: str = Field("", description="IANA zone of the cron; empty = the project's")


class ReportSettings(Settings):
    """How reports are made."""

    nightly: tuple[Notebook, ...] = Field(
        ("data_health", "rfm_segments", "member_tags", "campaign_result"),
        min_length=1,
        description="notebooks, in this order",
    )
    concurrency: int = Field(2, ge=1, le=32, description="notebooks that run at the same time")
    timeout_seconds: float = Field(
        900, gt=0, description="limit for one notebook; it is stopped then and counts as failed"
    )
    cell_timeout_seconds: float = Field(600, gt=0, description="limit for one cell")
    parameters: dict[Notebook, dict[str, Any]] = Field(
        default_factory=dict, description="values that replace the defaults of a notebook's parameters"
    )
    schedule: ScheduleSettings = ScheduleSettings()
    listed_runs: int = Field(30, ge=1, description="runs that the index lists below the reports")

    @field_validator("nightly")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in value if value.count(name) > 1})
        if repeated:
            raise ValueError(f"'{repeated[0]}' is listed twice; name each notebook once")
        return value
