"""What a campaign cost and what it earned: from lift and sizes to money, with the interval carried along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crm_core.campaigns.sms import sms_parts
from crm_core.config.campaigns import CampaignSettings

if TYPE_CHECKING:
    from crm_core.campaigns.result import ArmResult


@dataclass(frozen=True)
class Money:
    """Money of one arm, in the project's currency. roi = (profit − cost) / cost; None where it cannot be
    told.
    """

    cost: float | None
    incremental_amount: float
    incremental_profit: float
    roi: float | None
    roi_low: float | None
    roi_high: float | None
    cost_per_incremental_order: float | None


def message_cost(
    settings: CampaignSettings | None, known: Mapping[str, Any], sizes: Mapping[str, int],
    handed: Mapping[str, float] | None = None, country: str = "CN",
) -> dict[str, float] | None:  # fmt: skip
    """Cost per arm: the fixed budget shared by size, and the messages – as handed over where `handed` says
    what they cost, else unit cost × parts billed in `country` × persons. None when nothing is priced.
    """
    unit = settings.unit_cost if settings else known.get("unit_cost")
    budget = settings.budget if settings else None
    if unit is None and budget is None:
        return None
    whole = sum(sizes.values()) or 1
    messages = {
        arm: float(unit or 0) * size * (_parts(settings, arm, country) if settings else 1) for arm, size in sizes.items()
    } | dict(handed or {})
    return {arm: float(budget or 0) * size / whole + messages[arm] for arm, size in sizes.items()}


def _parts(settings: CampaignSettings, arm: str, country: str) -> int:
    # placeholders that differ by member are counted as written; the export's manifest has the exact parts
    return sms_parts(settings.text_of(arm), country).parts if settings.channel == "sms" else 1


def money(results: Sequence[ArmResult], spent: float | Mapping[str, float] | None, margin: float) -> dict[str, Money]:
    """Money per arm from the results on net_amount and orders; a single sum is shared by the arms' sizes."""
    amounts = {each.arm: each for each in results if each.metric == "net_amount"}
    orders = {each.arm: each for each in results if each.metric == "orders"}
    whole = sum(each.persons for each in amounts.values()) or 1
    found = {}
    for arm, amount in amounts.items():
        cost = spent.get(arm) if isinstance(spent, Mapping) else None if spent is None else spent * amount.persons / whole
        more = orders[arm].incremental if arm in orders else 0.0
        found[arm] = Money(
            cost=cost,
            incremental_amount=amount.incremental,
            incremental_profit=amount.incremental * margin,
            roi=_roi(amount.incremental, margin, cost),
            roi_low=_roi(amount.incremental_low, margin, cost),
            roi_high=_roi(amount.incremental_high, margin, cost),
            cost_per_incremental_order=cost / more if cost is not None and more > 0 else None,
        )
    return found


def _roi(amount: float | None, margin: float, cost: float | None) -> float | None:
    return None if amount is None or not cost else (amount * margin - cost) / cost
