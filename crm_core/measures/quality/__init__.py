"""Can the data be trusted: loads and their sums, columns, days, drift, contradictions and rejects of one snapshot and date."""

from crm_core.measures.quality.columns import ColumnCount, Fall, Profile
from crm_core.measures.quality.days import Gap
from crm_core.measures.quality.drift import Drift, stability_index
from crm_core.measures.quality.gate import Outcome, judge
from crm_core.measures.quality.loads import Cadence, HeadingChange, LoadRecord
from crm_core.measures.quality.orders import Impossible
from crm_core.measures.quality.quality import FACTS, Freshness, Quality
from crm_core.measures.quality.rejects import Refused

__all__ = [
    "FACTS", "Cadence", "ColumnCount", "Drift", "Fall", "Freshness", "Gap", "HeadingChange", "Impossible", "LoadRecord",
    "Outcome", "Profile", "Quality", "Refused", "judge", "stability_index",
]  # fmt: skip
