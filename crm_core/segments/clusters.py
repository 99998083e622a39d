"""Behavioural clusters: k-means on scaled features of members with a paid order, scored in the engine.

Fitted (scikit-learn) on a bounded sample drawn by salted hash: 'log' features as log(1 + value), all less their mean and
in standard deviations; an unknown value is read as the mean. The number of clusters is chosen by stability (Ben-Hur,
Elisseeff and Guyon 2002; von Luxburg 2010): for each k, pairs of fits on random halves of the sample name all of it, and
their agreement is the adjusted Rand index (Hubert and Arabie 1985); of the k within `margin` of the best mean the
greatest is taken. A new fit keeps the numbers of the old one: its centres are matched to the old ones with the least
total squared distance (Kuhn 1955), so that cluster 2 stays cluster 2. Plain numbers are all that is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np

from crm_core.config.segments import ClusterSettings
from crm_core.errors import unknown
from crm_core.measures import FEATURES
from crm_core.segments.grid import NO_PAID_ORDER
from crm_core.store.hashing import salted_order

if TYPE_CHECKING:
    from crm_core.store import Tables

MODEL = "clusters"
STABILITY_ROWS = 4_000
DIGITS = 6
"""Distances are cut to these digits before the nearest is chosen."""
NUMBERS = 32
"""A power of two above every cluster's number."""
Matrix = Any


@dataclass(frozen=True)
class Clusters:
    """A fit. Row j of `centres` (standard deviations from the mean, in the order of `features`) is cluster 'c{numbers[j]}'.

    `shares`: of the sample; `stability`: number of clusters → mean agreement; `made_by`: hash of the settings.
    """

    features: tuple[str, ...]
    scales: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    centres: tuple[tuple[float, ...], ...]
    numbers: tuple[int, ...]
    shares: tuple[float, ...]
    stability: Mapping[str, float]
    members: int
    fitted_on: str
    made_by: str
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(f"c{number}" for number in self.numbers))

    def params(self) -> dict[str, Any]:
        """The fit as JSON values."""
        return {name: value for name, value in asdict(self).items() if name != "names"}

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Clusters:
        """The fit that `params` gave."""
        listed = {name: tuple(value) if isinstance(value, list) else value for name, value in params.items()}
        return cls(**listed | {"centres": tuple(tuple(row) for row in params["centres"])})

    def traits(self, name: str, least: float = 0.4, most: int = 3) -> list[tuple[str, float]]:
        """What distinguishes cluster `name`: (feature, standard deviations from the mean), greatest first."""
        row = self.centres[self.names.index(name)]
        found = sorted(zip(self.features, row, strict=True), key=lambda each: (-abs(round(each[1], 6)), each[0]))
        return [each for each in found if abs(each[1]) >= least][:most]


def clusters_of_day(features: ir.Table, settings: ClusterSettings, tables: Tables | None = None) -> Clusters | None:
    """The clusters that hold on the day of `tables`: the last ones stored before it, or a new fit when they are older than
    `refit_days` or were made by other settings. None when too few members have a paid order.
    """
    day = tables.as_of if tables else None
    before = _stored_before(tables) if tables else None
    if before and day and before.made_by == _key(settings):
        age = (day - date.fromisoformat(before.fitted_on)).days
        if age < settings.refit_days:
            return before
    return fit(features, settings, day, before)


def fit(features: ir.Table, settings: ClusterSettings, day: date | None = None, before: Clusters | None = None) -> Clusters | None:
    """Fits on a sample of `features`; the numbers are those of `before` where it was fitted on the same features. None when
    fewer than `enough` members have a paid order, or too few of them differ. UnknownName when a feature does not exist or is
    no number.
    """
    names = check(settings)
    buyers = features.filter(features.order_count > 0)
    members = int(buyers.count().to_pyarrow().as_py())
    if members < settings.enough or not names:
        return None
    raw = _sample(buyers, names, settings.sample)
    values = np.where(np.array([settings.features[name] == "log" for name in names]), np.log1p(np.maximum(raw, 0)), raw)
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, values, 0.0).sum(axis=0) / counts
    deviations = np.sqrt((np.where(known, values - means, 0.0) ** 2).sum(axis=0) / counts)
    deviations = np.where(deviations > 1e-9, deviations, 1.0)  # a feature that is the same for all tells nothing
    scaled = np.nan_to_num((values - means) / deviations)
    stability = _stability(scaled, settings)
    if not stability:
        return None
    best = max(stability.values())
    k = max(k for k, agreement in stability.items() if agreement >= best - settings.margin)
    model = _kmeans(scaled, k, settings.seed, starts=10)
    shares = np.bincount(model.labels_, minlength=k) / len(scaled)
    centres = np.round(model.cluster_centers_, 9)
    return Clusters(
        tuple(names), tuple(settings.features[name] for name in names), _floats(means), _floats(deviations),
        tuple(_floats(row) for row in centres), _numbers(centres, shares, means, deviations, names, before, settings.most),
        _floats(shares), {str(k): round(v, 4) for k, v in stability.items()}, members,
        day.isoformat() if day else "", _key(settings),
    )  # fmt: skip


def nearest(table: ir.Table, clusters: Clusters | None) -> ir.Table:
    """`table` with `_cluster`: the nearest centre of each member with a paid order, 'no_paid_order' without one.

    The squared distance to centre c is, but for what all centres share, |c|² / 2 − c·z: one linear expression per centre
    over the features, so the engine scores members where they lie. Of equal distances the lower number is taken.
    """
    if clusters is None:
        return table.mutate(_cluster=ibis.null("string"))
    inputs = {
        f"_t{at}": _read(table, *each)
        for at, each in enumerate(zip(clusters.features, clusters.scales, clusters.means, strict=True))
    }
    scaled = table.mutate(**inputs)
    distances = {f"_d{at}": _distance(scaled, clusters, at) for at in range(len(clusters.numbers))}
    measured = scaled.mutate(**distances)
    # each distance carries its number in its last bits, so that the least one tells whose it is, and ties go to the lower
    least: Any = ibis.least(*(measured[name] for name in distances)) if len(distances) > 1 else measured["_d0"]
    number = least & (NUMBERS - 1)
    cluster = ibis.cases(
        (measured.order_count > 0, ibis.literal("c") + number.cast("string")),
        (measured.order_count == 0, NO_PAID_ORDER),
        else_=ibis.null("string"),
    )
    return measured.mutate(_cluster=cluster).drop(*inputs, *distances)


def scaled_value(clusters: Clusters, name: str, value: Any) -> float:
    """One member's value of feature `name` in standard deviations from the mean; 0 where it is not known."""
    if value is None:
        return 0.0
    at = clusters.features.index(name)
    read = float(np.log1p(max(float(value), 0.0))) if clusters.scales[at] == "log" else float(value)
    return (read - clusters.means[at]) / clusters.deviations[at]


def check(settings: ClusterSettings) -> list[str]:
    """The features of `settings`, in order. UnknownName when one does not exist or is no number."""
    numeric = {name for name, feature in FEATURES.items() if feature.type not in ("string", "timestamp(6)")}
    for name in settings.features:
        if name not in numeric:
            raise unknown("feature", name, numeric, "conf/segments.yml, clusters")
    return list(settings.features)


def _read(table: ir.Table, name: str, scale: str, mean: float) -> Any:
    value: Any = table[name].cast("float64")
    if scale == "log":
        # not greatest(value, 0), which engines read as 0 where the value is unknown
        value = ibis.cases((value > 0, value + 1.0), (value <= 0, 1.0)).ln()
    return value.fill_null(mean)


def _distance(table: ir.Table, clusters: Clusters, at: int) -> Any:
    centre = clusters.centres[at]
    weights = [value / deviation for value, deviation in zip(centre, clusters.deviations, strict=True)]
    constant = sum(value * value for value in centre) / 2
    constant += sum(weight * mean for weight, mean in zip(weights, clusters.means, strict=True))
    unit = 10.0**DIGITS
    terms: list[Any] = [table[f"_t{index}"] * (-weight * unit) for index, weight in enumerate(weights)]
    return sum(terms, ibis.literal(constant * unit)).floor().cast("int64") * NUMBERS + clusters.numbers[at]


def _stored_before(tables: Tables) -> Clusters | None:
    days = [day for day in tables.result_dates("segment_models") if day < tables.as_of]
    for day in reversed(days):
        found = stored_clusters(tables.result("segment_models", day))
        if found:
            return found
    return None


def stored_clusters(models: ir.Table) -> Clusters | None:
    """The clusters among the rows (model, params) of one day's `segment_models`."""
    texts = models.filter(models.model == MODEL).select("params").to_pyarrow()["params"].to_pylist()
    return Clusters.of(json.loads(texts[0])) if texts else None


def _key(settings: ClusterSettings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16]


def _sample(buyers: ir.Table, names: list[str], rows: int) -> Matrix:
    """The features of the `rows` members with the smallest salted hashes, in that order."""
    drawn = buyers.order_by(salted_order(buyers.member_id, MODEL)).limit(rows)
    found = drawn.select(**{name: drawn[name].cast("float64") for name in names}).to_pyarrow()
    return np.column_stack([found[name].to_numpy().astype("float64") for name in names])


def _stability(scaled: Matrix, settings: ClusterSettings) -> dict[int, float]:
    """Number of clusters → mean adjusted Rand index between fits on two halves of the sample; at most one cluster for every
    two members who differ."""
    from sklearn.metrics import adjusted_rand_score

    rows = scaled[:STABILITY_ROWS]
    distinct, found = len(np.unique(rows, axis=0)), {}
    for k in range(settings.least, min(settings.most, distinct // 2) + 1):
        agreed = []
        for repeat in range(settings.repeats):
            shuffled = np.random.default_rng([settings.seed, repeat]).permutation(len(rows))
            halves = shuffled[: len(rows) // 2], shuffled[len(rows) // 2 :]
            labels = [_kmeans(rows[half], k, settings.seed + repeat, starts=3).predict(rows) for half in halves]
            agreed.append(adjusted_rand_score(*labels))
        found[k] = float(np.mean(agreed))
    return found


def _kmeans(rows: Matrix, k: int, seed: int, starts: int) -> Any:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # threads add up centres in any order, and the last digits with them
        return KMeans(k, n_init=starts, random_state=seed).fit(rows)


def _numbers(
    centres: Matrix, shares: Matrix, means: Matrix, deviations: Matrix, names: list[str], before: Clusters | None, most: int
) -> tuple[int, ...]:
    """The number of each centre, up to `most`: that of the old centre it is matched to, else the smallest free one, greatest
    share first.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    given: dict[int, int] = {}
    if before and before.features == tuple(names):
        unscaled = np.array(before.centres) * before.deviations + before.means
        new, old = linear_sum_assignment(cdist(centres, (unscaled - means) / deviations, "sqeuclidean"))
        matched = {int(one): before.numbers[int(other)] for one, other in zip(new, old, strict=True)}
        given = {one: number for one, number in matched.items() if number <= most}
    free = iter(number for number in range(1, 2 * len(centres) + 1) if number not in given.values())
    for at in sorted(range(len(centres)), key=lambda at: (-shares[at], at)):
        if at not in given:
            given[at] = next(free)
    return tuple(given[at] for at in range(len(centres)))


def _floats(values: Matrix) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
