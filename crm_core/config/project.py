"""conf/project.yml: what holds for the whole workspace."""

from __future__ import annotations

from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from crm_core.config.loader import Settings


class EngineSettings(Settings):
    """How much of the machine the engine may use."""

    kind: Literal["duckdb", "spark"] = "duckdb"
    memory_limit: str = Field("auto", description="'auto' = half of the machine's memory, or e.g. '4GB'")
    spill_limit: str = Field("50GB", description="most that may be spilled to data/spill")
    threads: int = Field(0, ge=0, description="0 = every core")


class LedgerSettings(Settings):
    """Where the ledger lives; empty = SQLite in the workspace."""

    url: str = Field("", description="SQLAlchemy URL, e.g. postgresql+psycopg://host/crm; empty = data/ledger/ledger.db")
    url_env: str = Field("", description="environment variable that holds the URL, where it has a password")


class ProjectSettings(Settings):
    """The workspace as a whole."""

    name: str = "crm"
    time_zone: str = "Asia/Shanghai"
    currency: str = Field("CNY", min_length=3, max_length=3)
    language: Literal["zh", "en"] = "zh"
    country: str = Field("CN", min_length=2, max_length=2, description="region of phone numbers without a country code")
    min_cell: int = Field(5, ge=0, description="counts of members below this are masked in reports")
    engine: EngineSettings = EngineSettings()
    ledger: LedgerSettings = LedgerSettings()
    keep_dates: int = Field(400, ge=2, description="how many dates of dated results are kept; pinned ones always are")
    export_expiry_days: int = Field(30, ge=1)
    reject_expiry_days: int = Field(30, ge=1)

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"'{value}' is not an IANA time zone; write one like 'Asia/Shanghai'") from None
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The project's time zone: report dates and `as_of` are days there."""
        return ZoneInfo(self.time_zone)
