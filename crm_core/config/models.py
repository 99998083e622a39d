"""conf/models.yml: which models run, what each must find before it learns, and the definitions that they predict by."""

from __future__ import annotations

from pydantic import Field, model_validator

from crm_core.config.loader import Settings


class ChurnSettings(Settings):
    """Who is at risk of not coming back. Churned on a date: no paid order in the next `days`, or, where `gaps` is given, in the
    next `gaps` × the member's own mean days between orders (at least `least_days`, at most `days`; `days` for one order)."""

    enabled: bool = True
    days: int = Field(90, ge=7, le=730, description="days without a paid order that count as lost")
    gaps: float | None = Field(None, gt=0, le=20, description="times the member's own gap; null: the same days for all")
    least_days: int = Field(30, ge=1, description="with `gaps`: the shortest wait")
    features: tuple[str, ...] = Field(
        (
            "days_since_last_order", "order_count", "mean_days_between_orders", "sd_days_between_orders", "orders_90d",
            "orders_365d", "average_order_value", "net_amount_365d", "discount_share", "refund_share", "category_count",
            "main_channel", "days_since_last_activity", "visits_30d", "cart_adds_30d", "messages_90d", "message_open_rate",
            "complaints_90d", "points_balance", "coupons_held", "tier", "tenure_days",
        ),
        min_length=1,
        description="what the model may look at; few that say different things give clearer reasons",
    )  # fmt: skip
    high: float = Field(0.8, gt=0, lt=1, description="band 'high' from this probability on")
    medium: float = Field(0.5, gt=0, lt=1, description="band 'medium' from this probability on")
    need_buyers: int = Field(1000, ge=50, description="buyers at the start of the backtest")
    need_each: int = Field(100, ge=10, description="of those that were lost, and of those that came back, at least so many")
    need_days: int = Field(90, ge=0, description="days of orders before the backtest begins")

    @model_validator(mode="after")
    def _bands_rise(self) -> ChurnSettings:
        if self.medium >= self.high:
            raise ValueError(f"medium must be below high, found {self.medium} and {self.high}")
        if self.gaps is not None and self.least_days > self.days:
            raise ValueError(f"least_days must not exceed days, found {self.least_days} and {self.days}")
        return self


class NextPurchaseSettings(Settings):
    """When the next order comes: probabilities within each of `horizons`, and a window of days."""

    enabled: bool = True
    horizons: tuple[int, ...] = Field((7, 30, 90), min_length=1, max_length=6, description="days, rising")
    window: float = Field(0.8, gt=0, lt=1, description="share of those who return that the window of days shall hold")
    need_buyers: int = Field(1000, ge=50, description="buyers at the start of the backtest")
    need_gaps: int = Field(500, ge=50, description="repeat orders before the backtest begins")
    need_days: int = Field(30, ge=1, description="days of orders before the longest horizon that precedes the backtest")

    @model_validator(mode="after")
    def _rising(self) -> NextPurchaseSettings:
        if list(self.horizons) != sorted(set(self.horizons)) or self.horizons[0] < 1 or self.horizons[-1] > 730:
            raise ValueError(f"horizons must rise, between 1 and 730, found {', '.join(map(str, self.horizons))}")
        return self


class NextCategorySettings(Settings):
    """What the next order is mostly of."""

    enabled: bool = True
    days: int = Field(90, ge=7, le=730, description="the backtest looks at first orders within these days")
    categories: int = Field(
        50, ge=2, le=500, description="what follows what is learned of so many, the most bought; of others own orders decide"
    )
    need_orders: int = Field(500, ge=50, description="repeat orders to learn from, and as many to test on")
    need_categories: int = Field(2, ge=2, description="categories among them")


class ValueSettings(Settings):
    """What members will buy and spend: purchases, value, the probability to be alive, the value of a purchase."""

    enabled: bool = True
    horizons: tuple[int, ...] = Field((90, 365), min_length=1, max_length=4, description="days ahead, rising")
    level: float = Field(0.9, gt=0.5, lt=1, description="what the intervals of single members shall hold")
    need_buyers: int = Field(500, ge=50, description="buyers at the start of the backtest")
    need_repeat_buyers: int = Field(200, ge=20, description="of those, who bought on a second day")
    need_days: int = Field(90, ge=1, description="days of orders before the backtest begins")

    @model_validator(mode="after")
    def _rising(self) -> ValueSettings:
        if list(self.horizons) != sorted(set(self.horizons)) or self.horizons[0] < 7 or self.horizons[-1] > 1095:
            raise ValueError(f"horizons must rise, between 7 and 1095, found {', '.join(map(str, self.horizons))}")
        return self


class UpliftSettings(Settings):
    """Whom a campaign moved, learned from its members and its control."""

    need_arm: int = Field(1000, ge=100, description="members in each arm")
    need_responders: int = Field(100, ge=20, description="of those, who bought")
    folds: int = Field(5, ge=2, le=20, description="each fold is scored by models fitted on the others")
    draws: int = Field(400, ge=100, description="bootstrap samples behind the interval")


class ForecastSettings(Settings):
    """Net sales of the next weeks."""

    enabled: bool = True
    weeks: int = Field(13, ge=4, le=26, description="complete weeks ahead")
    need_weeks: int = Field(26, ge=16, description="complete weeks of sales before the backtest begins, more than `weeks`")
    origins: int = Field(8, ge=3, le=52, description="weeks from which the backtest looks ahead")

    @model_validator(mode="after")
    def _sees_as_far_back(self) -> ForecastSettings:
        if self.need_weeks <= self.weeks:
            raise ValueError(f"need_weeks must be above weeks, found {self.need_weeks} and {self.weeks}")
        return self


class ModelSettings(Settings):
    """Everything in conf/models.yml."""

    sample: int = Field(200_000, ge=1000, description="members that a model which needs single members learns from at most")
    seed: int = Field(20_261, ge=0, description="decides samples, splits and starts")
    churn: ChurnSettings = ChurnSettings()
    next_purchase: NextPurchaseSettings = NextPurchaseSettings()
    next_category: NextCategorySettings = NextCategorySettings()
    value: ValueSettings = ValueSettings()
    uplift: UpliftSettings = UpliftSettings()
    forecast: ForecastSettings = ForecastSettings()
