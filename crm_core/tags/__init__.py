"""What we say about a member: conf/tags.yml computed in the engine, checked, tried on later orders, and explained when asked."""

from crm_core.tags.adjust import Proposal, propose
from crm_core.tags.compute import check, compute, expired, has, long
from crm_core.tags.describe import TagDescription, describe
from crm_core.tags.dimensions import Dimension, dimensions
from crm_core.tags.evaluate import Lift, evaluate, outcome
from crm_core.tags.inputs import Sources, inputs
from crm_core.tags.lists import ListUpload, lists_of, upload
from crm_core.tags.reasons import Reason, reasons
from crm_core.tags.validate import Check, checks_of, checks_table, judge, published

__all__ = [
    "Check", "Dimension", "Lift", "ListUpload", "Proposal", "Reason", "Sources", "TagDescription", "check", "checks_of",
    "checks_table", "compute", "describe", "dimensions", "evaluate", "expired", "has", "inputs", "judge", "lists_of", "long",
    "outcome", "propose", "published", "reasons", "upload",
]  # fmt: skip
