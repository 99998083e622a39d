"""What each report shows: one view per notebook, one method per section."""

from crm_core.reporting.views.campaign_result import CampaignResult
from crm_core.reporting.views.data_health import DataHealth
from crm_core.reporting.views.member_tags import MemberTags
from crm_core.reporting.views.member_value import MemberValue
from crm_core.reporting.views.product_affinity import ProductAffinity
from crm_core.reporting.views.rfm_segments import RfmSegments

__all__ = ["CampaignResult", "DataHealth", "MemberTags", "MemberValue", "ProductAffinity", "RfmSegments"]
