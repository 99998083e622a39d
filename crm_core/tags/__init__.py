"""What we say about a member: conf/tags.yml computed in the engine, and explained when asked."""

from crm_core.tags.compute import check, compute, expired, long
from crm_core.tags.describe import TagDescription, describe
from crm_core.tags.reasons import Reason, reasons

__all__ = ["Reason", "TagDescription", "check", "compute", "describe", "expired", "long", "reasons"]
