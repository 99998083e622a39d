"""The eleven RFM groups over the whole R × F grid and the eight types: names, titles and where each begins.

Scores go from 1 (worst) to 5 (best). M does not enter the groups, as in the common R × F grids; it enters
the types.
"""

from __future__ import annotations

from itertools import product

from crm_core.config.segments import SegmentSettings
from crm_core.segments.lifecycle import STAGES

NO_PAID_ORDER = "no_paid_order"

GRID: dict[int, tuple[str, str, str, str, str]] = {
    # F: 1                 2                     3                     4            5
    5: ("new",             "potential_loyalist", "potential_loyalist", "champions", "champions"),
    4: ("promising",       "potential_loyalist", "potential_loyalist", "loyal",     "loyal"),
    3: ("about_to_sleep",  "about_to_sleep",     "need_attention",     "loyal",     "loyal"),
    2: ("hibernating",     "hibernating",        "at_risk",            "at_risk",   "cant_lose"),
    1: ("lost",            "lost",               "at_risk",            "at_risk",   "cant_lose"),
}  # fmt: skip
"""R score → the group for F scores 1 to 5: the one place where the groups are defined."""

TYPES: dict[tuple[bool, bool, bool], str] = {
    (True, True, True): "high_value",
    (True, False, True): "high_growth",
    (False, True, True): "high_keep",
    (False, False, True): "high_winback",
    (True, True, False): "value",
    (True, False, False): "growth",
    (False, True, False): "keep",
    (False, False, False): "winback",
}
"""(R, F, M better than the comparison) → type."""

GROUP_TITLES: dict[str, tuple[str, str]] = {
    "champions": ("核心客户", "Champions"),
    "loyal": ("忠诚客户", "Loyal"),
    "potential_loyalist": ("潜力忠诚客户", "Potential loyalists"),
    "new": ("新客户", "New"),
    "promising": ("有希望的客户", "Promising"),
    "need_attention": ("需关注客户", "Need attention"),
    "about_to_sleep": ("即将沉睡客户", "About to sleep"),
    "at_risk": ("有流失风险客户", "At risk"),
    "cant_lose": ("不可流失客户", "Can't lose"),
    "hibernating": ("沉睡客户", "Hibernating"),
    "lost": ("流失客户", "Lost"),
    NO_PAID_ORDER: ("未付款客户", "No paid order"),
}
"""Group → title in Chinese and English, best first."""

TYPE_TITLES: dict[str, tuple[str, str]] = {
    "high_value": ("重要价值客户", "High value"),
    "high_growth": ("重要发展客户", "High value, to develop"),
    "high_keep": ("重要保持客户", "High value, to keep"),
    "high_winback": ("重要挽留客户", "High value, to win back"),
    "value": ("一般价值客户", "Value"),
    "growth": ("一般发展客户", "To develop"),
    "keep": ("一般保持客户", "To keep"),
    "winback": ("一般挽留客户", "To win back"),
    NO_PAID_ORDER: ("未付款客户", "No paid order"),
}
"""Type → title in Chinese and English."""


def cells(group: str) -> list[tuple[int, int]]:
    """The (R, F) scores that make `group`, best first; empty for `no_paid_order`."""
    return [(r, f + 1) for r, row in GRID.items() for f, name in enumerate(row) if name == group]


def titles(scheme: str, settings: SegmentSettings) -> dict[str, tuple[str, str]]:
    """Segment → title in Chinese and English of every segment of `scheme`, best first; clusters by their number alone."""
    if scheme in ("rfm5", "rfm3"):
        best = int(scheme[-1])
        codes = product(range(best, 0, -1), repeat=3)
        return {f"{r}{f}{m}": (f"R{r} F{f} M{m}",) * 2 for r, f, m in codes}
    if scheme == "cluster":
        numbers = range(1, settings.clusters.most + 1)
        return {f"c{n}": (f"行为群 {n}", f"Cluster {n}") for n in numbers} | {NO_PAID_ORDER: GROUP_TITLES[NO_PAID_ORDER]}
    if scheme == "rule":
        return {name: (rule.title.zh, rule.title.en) for name, rule in settings.rules.items()}
    return {"rfm": GROUP_TITLES, "type": TYPE_TITLES, "lifecycle": STAGES}[scheme]


def references(settings: SegmentSettings) -> list[str]:
    """Every segment that `settings` define, as 'scheme:segment', best first."""
    return [f"{scheme}:{name}" for scheme in (*settings.schemes, "rule") for name in titles(scheme, settings)]
