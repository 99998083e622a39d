"""conf/segments.yml: RFM limits, what the eight types compare with, lifecycle, clusters, and the rule segments."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from crm_core.config.loader import Settings

SegmentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
Two = Annotated[tuple[Decimal, ...], Field(min_length=2, max_length=2)]
Four = Annotated[tuple[Decimal, ...], Field(min_length=4, max_length=4)]


class Words(Settings):
    """A text in both languages of the reports."""

    zh: str
    en: str


class _Rising(Settings):
    @model_validator(mode="after")
    def _rises(self) -> Self:
        for name, limits in self:
            if any(low > high for low, high in pairwise(limits)):
                raise ValueError(f"the limits of {name} must not fall, found {', '.join(map(str, limits))}")
        return self


class RfmThresholds(_Rising):
    """Four limits per measure, lowest first; a score is 1 + the limits exceeded (R: 5 − them)."""

    days_since_last_order: Four
    order_count: Four
    net_amount: Four


class RfmThirds(_Rising):
    """Two limits per measure, lowest first, for the scores 1 to 3."""

    days_since_last_order: Two
    order_count: Two
    net_amount: Two


class RfmSettings(Settings):
    """The scores 1 to 5 and 1 to 3. Without `thresholds` and `thirds` the limits come from the data of the day."""

    thresholds: RfmThresholds | None = None
    thirds: RfmThirds | None = None


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


class LifecycleSettings(Settings):
    """Stages by each member's own rhythm (crm_core/segments/lifecycle.py has the definition).

    `cooling`, `lapsed`, `lost`: the silence, in expected gaps, after which a member is so. `loyal_orders`: days
    with a paid order from which an active member is loyal. The expected gap lies within `shortest_gap_days` and `longest_gap_days`.
    `usual_gap_days` and `weight_in_gaps`: what a member without gaps of its own is expected to do, and how many own gaps
    weigh as much as that; worked out from the members of the day where they are not given.
    """

    cooling: float = Field(1.5, gt=0)
    lapsed: float = Field(3.0, gt=0)
    lost: float = Field(6.0, gt=0)
    loyal_orders: int = Field(4, ge=2)
    shortest_gap_days: int = Field(7, ge=1)
    longest_gap_days: int = Field(365, ge=1)
    usual_gap_days: float | None = Field(None, gt=0)
    weight_in_gaps: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> LifecycleSettings:
        if not self.cooling < self.lapsed < self.lost:
            raise ValueError("cooling, lapsed and lost must rise")
        if self.shortest_gap_days > self.longest_gap_days:
            raise ValueError("shortest_gap_days must not be above longest_gap_days")
        return self


class ClusterSettings(Settings):
    """Behavioural clusters (crm_core/segments/clusters.py has the method).

    `features`: feature → 'log' (log1p, for counts, days and money) or 'plain' (shares); an unknown value is read as the
    mean of the known ones. `least` to `most` clusters are tried; `enough`: members with a paid order that are needed;
    `sample`: members fitted on; `margin`: of the numbers of clusters whose stability is within this of the best the
    greatest is taken. Centres are kept for `refit_days`, so that members move and not the centres.
    """

    features: dict[str, Literal["log", "plain"]] = Field(default_factory=dict)
    least: int = Field(3, ge=2)
    most: int = Field(8, le=20)
    sample: int = Field(20_000, ge=100)
    enough: int = Field(500, ge=50)
    repeats: int = Field(5, ge=2, le=50)
    margin: float = Field(0.05, ge=0, le=1)
    refit_days: int = Field(28, ge=1)
    seed: int = 20_261_031

    @model_validator(mode="after")
    def _in_order(self) -> ClusterSettings:
        if self.least > self.most:
            raise ValueError("least must not be above most")
        return self


Scheme = Literal["rfm", "type", "rfm5", "rfm3", "lifecycle", "cluster"]


class SegmentSettings(Settings):
    """Everything in conf/segments.yml. `schemes`: those that are worked out and stored beside the rules."""

    schemes: tuple[Scheme, ...] = ("rfm", "type", "rfm5", "rfm3", "lifecycle", "cluster")
    rfm: RfmSettings = RfmSettings()
    type: TypeSettings = TypeSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    clusters: ClusterSettings = ClusterSettings()
    rules: dict[SegmentName, RuleSegment] = Field(default_factory=dict)
