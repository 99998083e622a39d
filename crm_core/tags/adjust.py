"""Better thresholds for tags that cut one feature at fixed numbers, proposed from what members did after a past day.

The engine counts members and orders per value of the feature; a small tree finds as many cuts as the tag has on one half of
the members (by salted hash), the numbers are rounded as people write them, and both sets of cuts are tried on the other half.
A proposal is made only where the new cuts tell orders apart clearly better there.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_core.config.tags import Tag, TagSettings
from crm_core.measures import FEATURES
from crm_core.store import salted_bucket
from crm_core.tags.inputs import texts

SALT = "tags.adjust"
MOST_VALUES = 2_000
LEAST_SHARE = 0.02
"""Members in the smallest band that is proposed."""
GAIN = 1.1
"""How many times more of the differences between members the new cuts must explain."""
LEAST_ORDERED = 50
"""Members who ordered in each half; fewer say nothing of thresholds."""
DRAWS, SURE = 200, 0.95
"""In so large a share of so many resamples of the unseen members the new cuts must explain more."""


@dataclass(frozen=True)
class Proposal:
    """Cuts of `feature` for `tag`, lowest first. `explains` and `would_explain`: share of the variance of 'ordered since'
    between the bands, on members that the search did not see; `rates`: share that ordered in each band of `proposed`,
    `shares`: members in it."""

    tag: str
    feature: str
    present: tuple[float, ...]
    proposed: tuple[float, ...]
    explains: float
    would_explain: float
    rates: tuple[float, ...]
    shares: tuple[float, ...]


def cuts(tag: Tag) -> tuple[str, tuple[float, ...]] | None:
    """(feature, its numbers, lowest first) where every condition of the tag compares one and the same feature with a number."""
    found = [pair for _, text in texts("", tag) for pair in [_compared(text)]] if tag.kind == "rule" else []
    features = {pair[0] for pair in found if pair}
    if not found or None in found or len(features) != 1:
        return None
    (feature,) = features
    return feature, tuple(sorted({pair[1] for pair in found if pair}))


def propose(features: ir.Table, ordered: ir.Table, settings: TagSettings, names: Sequence[str]) -> list[Proposal]:
    """Proposals for those of the tags `names` that would tell more. `features` of a past day, `ordered`: member_id of those who
    ordered since; one query per tag, some thousand rows each."""
    made = [_propose(name, settings.tags[name], features, ordered) for name in names]
    return [proposal for proposal in made if proposal is not None]


def _propose(name: str, tag: Tag, features: ir.Table, ordered: ir.Table) -> Proposal | None:
    found = cuts(tag)
    if found is None or found[0] not in FEATURES:
        return None
    feature, present = found
    rows = _counted(features, ordered, feature)
    seen, unseen = (rows[rows["half"] == half] for half in (0, 1))
    if len(rows) < 2 or min(_hits(seen), _hits(unseen)) < LEAST_ORDERED:
        return None
    proposed = _search(seen, len(present))
    explains, would = _explained(unseen, present), _explained(unseen, proposed)
    if len(proposed) != len(present) or proposed == present or would < GAIN * explains:
        return None
    if not _sure(unseen, present, proposed):
        return None
    bands = unseen.groupby(np.searchsorted(proposed, unseen["value"], side="right"))[["members", "hits"]].sum()
    return Proposal(
        name, feature, present, proposed, explains, would,
        tuple(bands["hits"] / bands["members"]), tuple(bands["members"] / bands["members"].sum()),
    )  # fmt: skip


def _counted(features: ir.Table, ordered: ir.Table, feature: str) -> pd.DataFrame:
    """value, half, members, hits: per value of the feature, of many values per value as it is written with fewer digits."""
    flagged = ordered.mutate(_ordered=True)
    known = features.filter(features[feature].notnull()).select("member_id", value=features[feature].cast("float64"))
    if known.value.nunique().to_pyarrow().as_py() > MOST_VALUES:
        limits = known.aggregate(low=known.value.quantile(0.01), high=known.value.quantile(0.99)).to_pyarrow().to_pylist()[0]
        step = (limits["high"] - limits["low"]) / (MOST_VALUES / 2)
        step = float(10 ** floor(log10(step))) if step > 0 else 1.0
        known = known.mutate(value=(known.value / step).floor() * step)
    joined = known.left_join(flagged, "member_id").drop("member_id_right")
    grouped = joined.group_by(value=joined.value, half=salted_bucket(joined.member_id, SALT, 2)).agg(
        members=joined.count(), hits=joined.count(where=joined._ordered.fill_null(False))
    )
    return grouped.order_by("value", "half").to_pyarrow().to_pandas()


def _search(rows: pd.DataFrame, number: int) -> tuple[float, ...]:
    """`number` cuts that tell orders apart best, at values that people write; a member at a cut lies above it."""
    from sklearn.tree import DecisionTreeClassifier  # half a second

    tree = DecisionTreeClassifier(
        max_leaf_nodes=number + 1, min_weight_fraction_leaf=LEAST_SHARE, criterion="entropy", random_state=0
    )
    values = rows["value"].to_numpy()
    both = np.concatenate([values, values]).reshape(-1, 1)
    ordered = np.concatenate([np.ones(len(rows)), np.zeros(len(rows))])
    tree.fit(both, ordered, sample_weight=np.concatenate([rows["hits"], rows["members"] - rows["hits"]]))
    inner = tree.tree_.threshold[tree.tree_.feature >= 0]
    return tuple(sorted({_between(values, float(cut)) for cut in inner}))


def _between(values: Any, cut: float) -> float:
    """The roundest number that parts `values` where `cut` does."""
    below, above = values[values <= cut].max(), values[values > cut].min()
    for digits in range(1, 7):
        rounded = float(f"{above:.{digits}g}")
        if below < rounded <= above:
            return rounded
    return float(above)


def _explained(rows: pd.DataFrame, bounds: tuple[float, ...]) -> float:
    """Share of the variance of 'ordered' that lies between the bands."""
    grouped = rows.groupby(np.searchsorted(bounds, rows["value"], side="right"))[["members", "hits"]].sum()
    rate = grouped["hits"].sum() / grouped["members"].sum()
    spread = (grouped["members"] * (grouped["hits"] / grouped["members"] - rate) ** 2).sum()
    whole = grouped["members"].sum() * rate * (1 - rate)
    return float(spread / whole) if whole else 0.0


def _sure(rows: pd.DataFrame, present: tuple[float, ...], proposed: tuple[float, ...]) -> bool:
    """Whether the new cuts explain more in nearly all resamples of the members (Poisson bootstrap over the counts)."""
    draw, better = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        hits = draw.poisson(rows["hits"])
        again = rows.assign(hits=hits, members=hits + draw.poisson(rows["members"] - rows["hits"]))
        again = again[again["members"] > 0]
        better += _explained(again, proposed) > _explained(again, present)
    return better >= SURE * DRAWS


def _hits(rows: pd.DataFrame) -> int:
    return int(rows["hits"].sum())


def _compared(text: str) -> tuple[str, float] | None:
    """(feature, number) of a plain comparison."""
    node = ast.parse(text.strip(), mode="eval").body
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Name)):
        return None
    if not isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
        return None  # = and ≠ have two sides each
    number = node.comparators[0]
    if not isinstance(number, ast.Constant) or isinstance(number.value, bool) or not isinstance(number.value, int | float):
        return None
    # "x <= 90" parts the members where "x > 90" does
    above = isinstance(node.ops[0], ast.LtE | ast.Gt)
    return (node.left.id, float(np.nextafter(number.value, np.inf)) if above else float(number.value))
