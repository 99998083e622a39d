"""The gate: what a model must show before its scores are published, and the card that keeps what it showed.

First there must be enough to learn from (`Need`); then the model is compared, on time that it was not fitted on,
with named baselines (`Backtest`). A model that does not beat every one of them is withheld and the best baseline is
published in its place. The card is plain JSON: parameters, numbers found and needed, the comparison, the verdict.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

Verdict = Literal["published", "baseline", "insufficient"]


@dataclass(frozen=True)
class Need:
    """One thing that is needed to learn from: `what` (a label key, e.g. 'repeat_buyers'), as found and as needed."""

    what: str
    found: float
    needed: float

    @property
    def enough(self) -> bool:
        """Whether as much was found as is needed."""
        return self.found >= self.needed


@dataclass(frozen=True)
class Entrant:
    """One predictor in a backtest and its measures on the held-out time, by name (e.g. 'mae', 'brier')."""

    name: str
    baseline: bool
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Backtest:
    """Predictors fitted on what was known at `fitted_until`, judged on the days up to `tested_until`.

    `metric` is the measure that decides; `low` and `high` bound the model's gain over the best baseline on it (95 %,
    in the metric's unit, positive when the model is better) where the model gives them.
    """

    metric: str
    lower_is_better: bool
    fitted_until: date
    tested_until: date
    rows: int
    entrants: tuple[Entrant, ...]
    low: float | None = None
    high: float | None = None

    def best(self, *, baseline: bool) -> Entrant:
        """The best baseline, or the best model; of equal ones the first by name."""
        sign = 1 if self.lower_is_better else -1
        those = [entrant for entrant in self.entrants if entrant.baseline == baseline]
        return min(those, key=lambda entrant: (sign * entrant.measures[self.metric], entrant.name))

    @property
    def gain(self) -> float:
        """By how much the model is better than the best baseline, in the metric's unit."""
        model, rival = (self.best(baseline=kind).measures[self.metric] for kind in (False, True))
        return rival - model if self.lower_is_better else model - rival


@dataclass(frozen=True)
class ModelCard:
    """What became of one model on one date; `published` names the predictor whose scores are stored ('' for none)."""

    model: str
    as_of: date
    verdict: Verdict
    published: str
    needs: tuple[Need, ...]
    backtest: Backtest | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def to_json(self) -> str:
        """The card as one line of JSON, keys sorted, numbers to nine digits (it is hashed, and last bits differ by machine), null
        for those that are none."""
        plain = _rounded(dataclasses.asdict(self))
        return json.dumps(plain, default=str, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that `to_json` wrote."""
        raw = json.loads(text)
        tested = raw["backtest"]
        if tested is not None:
            tested = Backtest(
                **{
                    **tested,
                    "fitted_until": date.fromisoformat(tested["fitted_until"]),
                    "tested_until": date.fromisoformat(tested["tested_until"]),
                    "entrants": tuple(Entrant(**entrant) for entrant in tested["entrants"]),
                }
            )
        needs = tuple(Need(**need) for need in raw["needs"])
        return cls(**{**raw, "as_of": date.fromisoformat(raw["as_of"]), "needs": needs, "backtest": tested})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


def judge(
    model: str,
    as_of: date,
    needs: tuple[Need, ...],
    backtest: Backtest | None,
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> ModelCard:
    """The card of a model: 'insufficient' when a need is not met, else 'published' when it beats every baseline of its
    backtest and 'baseline' when it does not. Where the backtest bounds the gain, the lower bound must be above 0: a gain that
    chance explains is none. `backtest` may be None only when a need is not met."""
    kept = dict(params or {})
    if not all(need.enough for need in needs):
        return ModelCard(model, as_of, "insufficient", "", needs, backtest, kept, seed)
    assert backtest is not None
    if backtest.gain > 0 and (backtest.low is None or backtest.low > 0):
        return ModelCard(model, as_of, "published", backtest.best(baseline=False).name, needs, backtest, kept, seed)
    return ModelCard(model, as_of, "baseline", backtest.best(baseline=True).name, needs, backtest, kept, seed)
