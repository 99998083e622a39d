"""Who is alike: RFM scores, groups and types, lifecycle, clusters and rule segments over the member features, by date."""

from crm_core.segments.assign import assign, holding, long, score, wide
from crm_core.segments.basis import Basis, basis_of
from crm_core.segments.clusters import Clusters, stored_clusters
from crm_core.segments.grid import references
from crm_core.segments.movement import movement, redefined, sizes
from crm_core.segments.names import check, describe, inputs, members_in, members_of, resolve
from crm_core.segments.profile import Trait, distinctive, growth, overlap
from crm_core.segments.reasons import SegmentReason, segment_reasons
from crm_core.segments.thresholds import Limits, Thresholds, thresholds

__all__ = [
    "Basis",
    "Clusters",
    "Limits",
    "SegmentReason",
    "Thresholds",
    "Trait",
    "assign",
    "basis_of",
    "check",
    "describe",
    "distinctive",
    "growth",
    "holding",
    "inputs",
    "long",
    "members_in",
    "members_of",
    "movement",
    "overlap",
    "redefined",
    "references",
    "resolve",
    "score",
    "segment_reasons",
    "sizes",
    "stored_clusters",
    "thresholds",
    "wide",
]
