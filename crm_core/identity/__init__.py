"""One person is one person: the summary of persons, and links between members who share no key but are alike."""

from crm_core.identity.link import LinkReport, link_members, model_path, train_links
from crm_core.identity.summary import IdentitySummary, identity_summary

__all__ = ["IdentitySummary", "LinkReport", "identity_summary", "link_members", "model_path", "train_links"]
