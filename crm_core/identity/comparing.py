"""splink behind our own model: comparisons made from `LinkModel`, trained once, then only applied.

Term frequencies stay off: they would have to be kept beside the model, and they are values of members.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.errors import InputError, RunFailed
from crm_core.identity.model import HOW, NAMES, LinkModel, Weights
from crm_core.identity.records import USABLE

SEED = 20_261_031
MOST_PAIRS = 10_000_000
RECALL = 0.7  # of the true pairs, how many the certain rules are taken to find; it moves the prior, not the order of pairs
LEAST_PAIRS = 10  # a block with fewer pairs teaches nothing
NEUTRAL = 0.5


def splink() -> Any:
    """The package. Raises InputError where it is not installed."""
    try:
        import splink
        import splink.comparison_library
    except ImportError:
        raise InputError(
            "linking by likeness needs splink; install the extra crm-core[identity], or leave probabilistic.enabled: false"
        ) from None
    logging.getLogger("splink").setLevel(logging.ERROR)
    return splink


def comparisons_of(kinds: Sequence[str]) -> list[str]:
    """What is compared when `kinds` are known: each by itself, but given and family name together."""
    both = {"given_name", "family_name"} <= set(kinds)
    return ([NAMES] if both else []) + [kind for kind in kinds if not (both and kind in ("given_name", "family_name"))]


def train(
    own: Any, kinds: Sequence[str], blocks: Sequence[tuple[str, ...]], certain: Sequence[tuple[str, ...]]
) -> tuple[float, tuple[Weights, ...]]:
    """(prior, weights) learnt from the table `records` of `own` by expectation maximisation, u from random pairs (Fellegi and
    Sunter 1969; Winkler 1988), rounded so that a repeat gives the same bytes.

    Raises RunFailed when no block holds enough pairs.
    """
    package, compared = splink(), comparisons_of(kinds)
    records = own.table("records")
    used = [place for place, block in enumerate(blocks) if _pairs(records, place, block) >= LEAST_PAIRS]
    if not used:
        raise RunFailed("hardly any two records agree in a block; load more members, or widen probabilistic.block")
    linker = _linker(own, {name: _comparison(name) for name in compared}, blocks, 1 / max(records.count().execute(), 2))
    if certain:
        rules = [package.block_on(*rule) for rule in certain]
        linker.training.estimate_probability_two_random_records_match(rules, recall=RECALL)
    linker.training.estimate_u_using_random_sampling(max_pairs=MOST_PAIRS, seed=SEED)
    for place in used:
        rule = package.block_on(*blocks[place], USABLE.format(place))
        linker.training.estimate_parameters_using_expectation_maximisation(rule, max_pairs=MOST_PAIRS)
    learnt = linker.misc.save_model_to_json()
    found = {each["output_column_name"]: each["comparison_levels"] for each in learnt["comparisons"]}
    weights = tuple(_weights(name, found[name.replace("+", "_")]) for name in compared)
    return rounded(learnt["probability_two_random_records_match"]), weights


def alike(own: Any, model: LinkModel, match_probability: float) -> ir.Table:
    """Pairs of the table `records` of `own` at least as probable: member_id < other_member_id, match_probability, and when
    the evidence was complete (first_seen_at) and each of the two first stated (member_seen_at, other_seen_at).
    """
    weighed = {each.compare: _comparison(each.compare, each) for each in model.weights}
    linker = _linker(own, weighed, model.block, model.prior)
    scored = linker.inference.predict(threshold_match_probability=match_probability)
    pairs, records = own.table(scored.physical_name), own.table("records").select("member_id", "seen_at", "complete_at")
    ordered = pairs.select(
        member_id=ibis.least(pairs.member_id_l, pairs.member_id_r),
        other_member_id=ibis.greatest(pairs.member_id_l, pairs.member_id_r),
        match_probability=pairs.match_probability.round(6),
    )
    left = ordered.inner_join(records, "member_id").rename(member_seen_at="seen_at", _left="complete_at")
    both = left.inner_join(records, left.other_member_id == records.member_id, rname="other_{name}")
    return both.select(
        "member_id", "other_member_id", "match_probability", "member_seen_at",
        other_seen_at="seen_at", first_seen_at=ibis.greatest(both._left, both.complete_at),
    )  # fmt: skip


def rounded(value: float) -> float:
    """Six significant digits: sums of floats differ in the last bits from run to run."""
    return float(f"{value:.6g}")


def _pairs(records: ir.Table, place: int, block: Sequence[str]) -> int:
    usable = records.filter(records[USABLE.format(place)])
    sizes = usable.group_by(list(block)).agg(size=usable.count())
    return int(sizes.aggregate(pairs=(sizes.size * (sizes.size - 1) / 2).sum().fill_null(0)).to_pyarrow()["pairs"][0].as_py())


def _linker(own: Any, comparisons: Mapping[str, Any], blocks: Sequence[Sequence[str]], prior: float) -> Any:
    package = splink()
    settings = package.SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="member_id",
        comparisons=list(comparisons.values()),
        blocking_rules_to_generate_predictions=[
            package.block_on(*block, USABLE.format(place)) for place, block in enumerate(blocks)
        ],
        probability_two_random_records_match=prior,
        retain_matching_columns=False,
    )
    database = package.DuckDBAPI(connection=own.con)
    return package.Linker(database.register("records"), settings, log_level=logging.ERROR)


def _comparison(name: str, weights: Weights | None = None) -> Any:
    library = splink().comparison_library
    way, steps = HOW[name]
    if way == "names":
        made = library.ForenameSurnameComparison(*name.split("+"), jaro_winkler_thresholds=list(steps))
    elif way == "similar":
        made = library.JaroWinklerAtThresholds(name, list(steps))
    else:
        made = library.DamerauLevenshteinAtThresholds(name, list(steps))
    if weights is None:
        return made
    return made.configure(m_probabilities=list(weights.of_one_person), u_probabilities=list(weights.of_two_persons))


def _weights(name: str, levels: Sequence[Mapping[str, Any]]) -> Weights:
    """What was learnt of one comparison; a level that one side never showed says nothing, so both are taken as equal."""
    of_one, of_two = [], []
    for level in levels:
        if level.get("is_null_level"):
            continue
        m, u = level.get("m_probability"), level.get("u_probability")
        of_one.append(rounded(m or u or NEUTRAL))
        of_two.append(rounded(u or m or NEUTRAL))
    return Weights(compare=name, of_one_person=tuple(of_one), of_two_persons=tuple(of_two))
