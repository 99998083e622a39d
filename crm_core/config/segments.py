"""conf/segments.yml: RFM thresholds, what the eight types compare with, and the rule segments."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from crm_core.config.loader import Settings

SegmentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Four = Annotated[tuple[Decimal, ...], Field(min_length=4, max_length=4)]


class Words(Settings):
    """A text in both languages of the reports."""

    zh: str
    en: str


class RfmThresholds(Settings):
    """Four limits per measure, lowest first; a score is 1 + the limits exceeded (R: 5 − them)."""

    days_since_last_order: Four
    order_count: Four
    net_amount: Four

    @model_validator(mode="after")
    def _rising(self) -> RfmThresholds:
        for name in ("days_since_last_order", "order_count", "net_amount"):
            limits = getattr(self, name)
            if any(low > high for low, high in pairwise(limits)):
                raise ValueError(f"the limits of {name} must not fall, found {', '.join(map(str, limits))}")
        return self


class RfmSettings(Settings):
    """The quintile scheme. Without `thresholds` they come from the data of the day."""

    thresholds: RfmThresholds | None = None


class TypeValues(Settings):
    """What R, F and M are compared with when the values are given."""

    days_since_last_order: Decimal
    order_count: Decimal
    net_amount: Decimal


class TypeSettings(Settings):
    """The eight types: `compare` with the mean or the median of the day's data, or with given `values`."""

    compare: Literal["mean", "median", "given"] = "mean"
    values: TypeValues | None = None

    @model_validator(mode="after")
    def _values_when_given(self) -> TypeSettings:
        if (self.compare == "given") != (self.values is not None):
            raise ValueError("values are needed when compare is 'given', and only then")
        return self


class RuleSegment(Settings):
    """Members for whom `when` (schema.expressions over the features) is true; unknown counts as no."""

    title: Words
    when: str = Field(min_length=1)
    meaning: Words | None = None
    owner: str = ""


class SegmentSettings(Settings):
    """Everything in conf/segments.yml."""

    rfm: RfmSettings = RfmSettings()
    type: TypeSettings = TypeSettings()
    rules: dict[SegmentName, RuleSegment] = Field(default_factory=dict)
