"""Who is alike: RFM groups, eight types and rule segments over the member features, by date."""

from crm_core.segments.assign import assign, score
from crm_core.segments.movement import movement, sizes
from crm_core.segments.names import check, describe, members_of, references, resolve
from crm_core.segments.thresholds import Limits, Thresholds, thresholds

__all__ = [
    "Limits",
    "Thresholds",
    "assign",
    "check",
    "describe",
    "members_of",
    "movement",
    "references",
    "resolve",
    "score",
    "sizes",
    "thresholds",
]
