"""How good predictions were: errors and ranking, and by how much one predictor is better than another, members paired."""

from __future__ import annotations

import numpy as np
from scipy import stats

from crm_core.models.fitting import Array, normal_quantile

Z95 = normal_quantile(0.95)
GROUPS, DRAWS = 2000, 1000


def errors(predicted: Array, actual: Array) -> dict[str, float]:
    """rmse, mae, and total_error: the error of the total as a share of it (nan where the total is 0)."""
    error = predicted - actual
    total = float(actual.sum())
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "total_error": float(error.sum()) / total if total else float("nan"),
    }


def error_gain(model: Array, rival: Array, actual: Array, seed: int = 0) -> tuple[float, float]:
    """95 % bounds of how much smaller the model's root mean squared error is, by bootstrap: squared errors of counts and money
    are so skewed that one member may make the normal approximation include anything. Members are drawn in at most GROUPS groups.
    """
    place = np.arange(len(actual)) % GROUPS
    squares = [np.bincount(place, (predicted - actual) ** 2) for predicted in (rival, model)]
    sizes, rng = np.bincount(place), np.random.default_rng(seed)
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), DRAWS)
    theirs, ours = (np.sqrt(drawn @ each / (drawn @ sizes)) for each in squares)
    low, high = np.quantile(theirs - ours, [0.025, 0.975])
    return float(low), float(high)


def ranking(predicted: Array, actual: Array) -> dict[str, float]:
    """auc: how often one of those with `actual` above 0 is ranked above one of the others; ties are halves; 0.5 without both."""
    mine, others = _placements(predicted, actual > 0)
    return {"auc": float(mine.mean()) if len(mine) and len(others) else 0.5}


def ranking_gain(model: Array, rival: Array, actual: Array) -> tuple[float, float]:
    """95 % bounds of how much larger the model's area under the curve is (DeLong, DeLong and Clarke-Pearson 1988)."""
    ours, theirs = (_placements(predicted, actual > 0) for predicted in (model, rival))
    if min(len(ours[0]), len(ours[1])) < 2:
        return 0.0, 0.0
    apart = [one - other for one, other in zip(ours, theirs, strict=True)]
    gain, reach = (float(apart[0].mean()), Z95 * float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in apart))))
    return gain - reach, gain + reach


def wilson(share: Array, size: Array) -> tuple[Array, Array]:
    """The 95 % interval of a share seen in `size` rows (Wilson 1927; Brown, Cai, DasGupta 2001, Statistical Science 16,
    eq. 4)."""
    middle = (share + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 * np.sqrt(share * (1 - share) / size + Z95**2 / (4 * size**2)) / (1 + Z95**2 / size)
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def _placements(predicted: Array, yes: Array) -> tuple[Array, Array]:
    """Of each 'yes' the share of the others ranked below it, and of each other the share of 'yes' ranked above it."""
    ranks = stats.rankdata(predicted)
    few, many = int(yes.sum()), int((~yes).sum())
    mine = (ranks[yes] - stats.rankdata(predicted[yes])) / max(many, 1)
    others = 1 - (ranks[~yes] - stats.rankdata(predicted[~yes])) / max(few, 1)
    return mine, others
