"""Does the 95 % interval hold the truth 95 times in 100, and is 'raised or lowered' said 5 times in 100 when
nothing happened?

Campaigns are drawn from a superpopulation whose mean effect is known exactly, held out by the product's own
draw and judged by its own `moments` and `judge` (tea-tasting on ibis). Counts are compared with exact 99.9 %
binomial regions.

    python tests/soak/coverage.py --campaigns 1000 --seed 7
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from fractions import Fraction

import ibis
import numpy as np
import pyarrow as pa
from scipy import stats

from crm_core.campaigns.allocation import allocate
from crm_core.campaigns.lift import moments
from crm_core.campaigns.result import BEFORE, METRICS, judge

BATCH = 25
MEAN_AMOUNT, EXTRA_ORDERS = 100.0, 0.3
BUY, STAY = 2.0, 4.0  # purchase probability of a person ~ Beta(2, 4), mean one third


def region(campaigns: int, probability: float, level: float = 0.999) -> tuple[int, int]:
    """The exact central binomial region: counts that a right implementation gives with at least `level`."""
    tail = (1 - level) / 2
    return int(stats.binom.ppf(tail, campaigns, probability)), int(stats.binom.isf(tail, campaigns, probability))


def batch(rng: np.random.Generator, campaigns: int, effects: np.ndarray) -> tuple[pa.Table, dict[str, dict[str, float]]]:
    """Persons of some campaigns with both potential outcomes, and the true lift per campaign and metric."""
    sizes = rng.integers(2000, 5000, campaigns)
    campaign = np.repeat(np.arange(campaigns), sizes)
    count = len(campaign)
    habit, effect = rng.beta(BUY, STAY, count), effects[campaign]
    draw, amount = rng.random(count), rng.gamma(2.0, MEAN_AMOUNT / 2.0, count)
    extra, taste = rng.poisson(EXTRA_ORDERS, count), rng.gamma(4.0, 0.25, count)
    columns: dict[str, np.ndarray] = {"campaign": campaign.astype(str), "person_id": np.arange(count).astype(str)}
    for arm, chance in (("control", habit), ("message", habit + effect * (1 - habit))):
        buys = draw < chance
        columns |= {
            f"{arm}_ordered": buys.astype(float), f"{arm}_orders": buys * (1.0 + extra),
            f"{arm}_net_amount": buys * amount * taste,
        }  # fmt: skip
    before = rng.random(count) < habit
    columns |= {
        "before_ordered": before.astype(float),
        "before_orders": before * (1.0 + rng.poisson(EXTRA_ORDERS, count)),
        "before_net_amount": before * rng.gamma(2.0, MEAN_AMOUNT / 2.0, count) * taste,
    }
    more = effects * STAY / (BUY + STAY)  # E[1 − habit]; amounts and extra orders are independent of buying
    truth = {
        str(at): {"ordered": more[at], "orders": more[at] * (1 + EXTRA_ORDERS), "net_amount": more[at] * MEAN_AMOUNT}
        for at in range(campaigns)
    }
    return pa.table(columns), truth


def judged(backend: ibis.BaseBackend, persons: pa.Table, control: Fraction, salt: str) -> dict[str, dict[str, object]]:
    """campaign -> metric -> ArmResult, through the product's draw and statistics."""
    table = backend.create_table("persons", persons, overwrite=True)
    members = table.select("person_id", member_id="person_id", stratum="campaign")
    drawn = allocate(members, {"control": control, "message": 1 - control}, salt)
    seen = table.join(drawn.select("person_id", "arm"), "person_id")
    is_control = seen.arm == "control"
    seen = seen.mutate(
        group=seen.campaign + "/" + seen.arm,
        **{name: is_control.ifelse(seen[f"control_{name}"], seen[f"message_{name}"]) for name in METRICS},
    )
    found = moments(seen, "group", [*METRICS, *(BEFORE + name for name in METRICS)])
    return {
        campaign: {name: judge({arm: found[f"{campaign}/{arm}"] for arm in ("control", "message")}, name)[0] for name in METRICS}
        for campaign in {group.split("/")[0] for group in found}
    }


def run(campaigns: int, seed: int, with_effect: bool) -> Counter[str]:
    """How often each interval holds the truth ('metric kind'), and how often each reading is said ('metric
    reading').
    """
    rng, counts, backend = np.random.default_rng([seed, with_effect]), Counter[str](), ibis.duckdb.connect()
    for first in range(0, campaigns, BATCH):
        size = min(BATCH, campaigns - first)
        effects = rng.uniform(-0.05, 0.15, size) if with_effect else np.zeros(size)
        persons, truth = batch(rng, size, effects)
        control = Fraction(int(rng.integers(10, 51)), 100)
        for campaign, metrics in judged(backend, persons, control, f"{seed}/{first}").items():
            for name, result in metrics.items():
                counts.update(_counted(name, result, truth[campaign][name]))
    return counts


def _counted(name: str, result: object, truth: float) -> list[str]:
    found = [f"{name} {result.reading}"] if result.reading != "no_evidence" else []
    per_person = {"ordered": 1.0, "orders": 1 + EXTRA_ORDERS, "net_amount": MEAN_AMOUNT}[name]
    relative = truth / (BUY / (BUY + STAY) * per_person)
    for kind in ("lift", "adjusted"):
        lift = getattr(result, kind)
        if lift.low <= truth <= lift.high:
            found.append(f"{name} {kind}")
        if lift.relative_low <= relative <= lift.relative_high:
            found.append(f"{name} {kind} relative")
    return found


def soak(campaigns: int, seed: int) -> dict[str, object]:
    """Both runs with their regions; 'ok' is true when coverage and false alarms of net_amount lie inside."""
    started = time.perf_counter()
    real, null = run(campaigns, seed, True), run(campaigns, seed, False)
    said = {name: null[f"{name} raised"] + null[f"{name} lowered"] for name in METRICS}
    covered, alarms = region(campaigns, 0.95), region(campaigns, 0.05)
    return {
        "campaigns": campaigns,
        "seed": seed,
        "covered_region": covered,
        "alarm_region": alarms,
        "covered": real["net_amount adjusted"],
        "false_alarms": said["net_amount"],
        "ok": covered[0] <= real["net_amount adjusted"] <= covered[1] and alarms[0] <= said["net_amount"] <= alarms[1],
        "all_intervals": {name: real[name] for name in sorted(real) if "raised" not in name and "lowered" not in name},
        "all_false_alarms": said,
        "milliseconds_per_campaign": (time.perf_counter() - started) * 1000 / campaigns / 2,
    }


def main(arguments: list[str] | None = None) -> int:
    """Prints one JSON object; 1 when a count lies outside its region."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    found = soak(options.campaigns, options.seed)
    print(json.dumps(found, indent=2))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
