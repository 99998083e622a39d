"""Every reason for which a campaign leaves a member out has a name in both languages."""

from __future__ import annotations

import re
from pathlib import Path

from crm_core.reporting.labels import entries

CAMPAIGNS = Path(__file__).resolve().parents[2] / "crm_core" / "campaigns"


def test_every_reason_of_the_campaigns_room_is_named_in_both_languages() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in CAMPAIGNS.glob("*.py"))
    found = re.findall(r'^\s+"([a-z_]+)": .*\bchosen\b', (CAMPAIGNS / "payload.py").read_text(encoding="utf-8"), re.M)
    reasons = {*re.findall(r'Rule\(\s*"([a-z_]+)"', text), *found, "same_contact"}
    assert {"no_consent", "suppressed", "no_contact", "contact_of_held_out"} <= reasons
    assert [reason for reason in reasons if set(entries()["reasons"].get(reason, {})) != {"zh", "en"}] == []
