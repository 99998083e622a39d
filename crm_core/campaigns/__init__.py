"""Campaigns: plan, freeze a list with a kept control, hand it over, take the receipts, judge what it caused,
prove the list.
"""

from crm_core.campaigns.audience import Frozen, freeze
from crm_core.campaigns.evaluation import evaluate
from crm_core.campaigns.handoff import HandedOff, export
from crm_core.campaigns.planning import Plan, plan
from crm_core.campaigns.proof import Rebuilt, rebuild
from crm_core.campaigns.reasons import Explanation, explain
from crm_core.campaigns.replies import Receipts, receipts
from crm_core.campaigns.result import ArmResult, Evaluation
from crm_core.campaigns.sms import sms_parts
from crm_core.campaigns.targeting import targeting

__all__ = [
    "ArmResult",
    "Evaluation",
    "Explanation",
    "Frozen",
    "HandedOff",
    "Plan",
    "Rebuilt",
    "Receipts",
    "evaluate",
    "explain",
    "export",
    "freeze",
    "plan",
    "rebuild",
    "receipts",
    "sms_parts",
    "targeting",
]
