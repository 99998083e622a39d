"""A calibrated classifier of members: boosted trees, then isotonic regression on probabilities by trees that had not seen the
member.

Trees have no plain parameters, so nothing is stored of them: the same rows in the same order and the same seed give the same
trees (on one thread: with more, the last bits of sums of gradients depend on the machine).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits

from crm_core.models.measures import wilson

Floats: TypeAlias = npt.NDArray[np.float64]
FOLDS = 3
CATEGORIES = 60
STEPS, STEP_ROWS = 60, 40
TREES = {"max_iter": 100, "learning_rate": 0.07, "max_leaf_nodes": 12, "min_samples_leaf": 40, "l2_regularization": 5.0}
"""Small trees: members are few where this must work at all, and scoring all of them is most of the cost."""


@dataclass(frozen=True)
class Encoder:
    """Features as numbers: of texts the place of the value among those known when it was made; NaN for all that is not known."""

    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, rows: pa.Table) -> Encoder:
        """Learns the values of text columns: the most frequent ones, by name where equally frequent."""
        values = {}
        for name in rows.column_names:
            if pa.types.is_string(rows.schema.field(name).type):
                counted = rows[name].drop_null().value_counts().to_pylist()
                counted.sort(key=lambda each: (-each["counts"], each["values"]))
                values[name] = tuple(sorted(each["values"] for each in counted[:CATEGORIES]))
        return cls(tuple(rows.column_names), values)

    def matrix(self, rows: pa.Table) -> Floats:
        """(rows, features) of a table that has at least the columns learnt from."""
        columns = [self._column(rows[name], name).cast("float64").to_numpy() for name in self.names]
        found: Floats = np.column_stack(columns)
        return found

    def _column(self, column: Any, name: str) -> Any:
        if name not in self.values:
            return column
        return pc.index_in(column, value_set=pa.array(self.values[name], pa.string()))


@dataclass(frozen=True)
class Calibrated:
    """Trees and the curve that turns what they say into probabilities. `typical`: the middle (of texts: the most frequent)
    value of each feature, which a member's own value is compared with."""

    encoder: Encoder
    trees: Any
    curve: Floats
    typical: Floats

    def probabilities(self, matrix: Floats) -> Floats:
        """(3, rows): the probability of each row and its 95 % bounds, as of `isotonic_curve`."""
        return read_curve(self.curve, self._raw(matrix))

    def moves(self, matrix: Floats, places: Sequence[int]) -> Floats:
        """(rows, places): by how much the features at `places` move the trees' probability: what they say less what they would
        say had the feature its typical value."""
        raw, found = self._raw(matrix), np.zeros((len(matrix), len(places)))
        for column, place in enumerate(places):
            own, value = matrix[:, place], self.typical[place]
            differs = ~((own == value) | (np.isnan(own) & np.isnan(value)))
            if differs.any():
                changed = matrix[differs]
                changed[:, place] = value
                found[differs, column] = raw[differs] - self._raw(changed)
        return found

    def _raw(self, matrix: Floats) -> Floats:
        with threadpool_limits(1):  # two threads that wait for each other are slower than one on a busy machine
            raw: Floats = self.trees.predict_proba(matrix)[:, 1]
        return raw


def fit(rows: pa.Table, outcome: Floats, seed: int) -> Calibrated:
    """Fits on the columns of `rows` (sorted by what shuffling does not change, such as a hash of the member) and 0/1 `outcome`.

    Columns that say the same of every row are left out. Folds are by place in that order.
    """
    used = [name for name in rows.column_names if pc.count_distinct(rows[name], mode="all").as_py() > 1]
    encoder = Encoder.of(rows.select(used))
    matrix = encoder.matrix(rows)
    texts = [name in encoder.values for name in used]
    fold, unseen = np.arange(len(outcome)) % FOLDS, np.empty(len(outcome))
    with threadpool_limits(1):
        for each in range(FOLDS):
            trees = _trees(texts, seed).fit(matrix[fold != each], outcome[fold != each])
            unseen[fold == each] = trees.predict_proba(matrix[fold == each])[:, 1]
        trees = _trees(texts, seed).fit(matrix, outcome)
    typical = np.array([_typical(matrix[:, place], text) for place, text in enumerate(texts)])
    return Calibrated(encoder, trees, isotonic_curve(unseen, outcome), typical)


def isotonic_curve(score: Floats, outcome: Floats) -> Floats:
    """(4, points): mean scores of groups of equal size, the share of `outcome` in each made to rise with the score, and its
    95 % bounds by the rows of its step.

    Groups of STEP_ROWS or more (equal scores stay together), not single rows, so that no end of the curve rests on a handful; half
    a row of each outcome is added (Jeffreys), as nothing is certain.
    """
    groups = int(np.clip(len(score) // STEP_ROWS, 1, STEPS))
    edges = np.quantile(score, np.arange(1, groups) / groups, method="inverted_cdf")
    group = np.unique(np.searchsorted(edges, score), return_inverse=True)[1]
    rows = np.bincount(group).astype(float)
    share = (np.bincount(group, outcome) + 0.5) / (rows + 1)
    at = np.bincount(group, score) / rows
    rising = IsotonicRegression().fit_transform(at, share, sample_weight=rows)
    steps, step = np.unique(rising.round(12), return_inverse=True)
    size = np.bincount(step, rows, minlength=len(steps))[step]
    curve: Floats = np.vstack([at, rising, *wilson(rising, size)])
    return curve


def read_curve(curve: Floats, score: Floats) -> Floats:
    """(3, rows): share and bounds of an `isotonic_curve` at `score`, in a line between its points."""
    found: Floats = np.vstack([np.interp(score, curve[0], level) for level in curve[1:]])
    return found


def _trees(texts: Sequence[bool], seed: int) -> Any:
    return HistGradientBoostingClassifier(**TREES, categorical_features=list(texts), early_stopping=False, random_state=seed)


def _typical(column: Floats, text: bool) -> float:
    known = np.sort(column[~np.isnan(column)])
    if len(known) * 2 < len(column):
        return float("nan")
    if text:
        values, counts = np.unique(known, return_counts=True)
        return float(values[counts.argmax()])
    return float(known[len(known) // 2])  # a value that somebody has
