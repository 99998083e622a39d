"""The summary of persons: counts that add up, held-back keys by the first digits of their hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crm_core.cli import run
from crm_core.identity import identity_summary
from crm_core.member import member_card
from tests.identity.people import load, open_people, reopened, write_rows


@pytest.mark.slow
def test_a_shop_phone_is_held_back_and_reported_without_its_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"A{number:03d}", "mobile": "13800138000", "mail": f"a{number}@x.cn"} for number in range(500)]
    rows += [{"id": f"B{number}", "mobile": "13900139000", "mail": ""} for number in range(3)]
    rows += [{"id": "C1", "mobile": "", "mail": "a7@x.cn"}, {"id": "D1", "mobile": "", "mail": ""}]
    headings = {"phone": "mobile", "email": "mail"}
    workspace = open_people(tmp_path / "w", "till", "id", headings, "{phone: 5, email: 3}", "keys: {keys}\n")
    load(workspace, "till", write_rows(tmp_path / "people.csv", rows))
    workspace = reopened(workspace)
    found = identity_summary(workspace.tables)
    assert (found.members, found.persons, found.merged_members, found.merged_persons) == (505, 502, 5, 2)
    assert found.largest_person == 3
    phone, mail = found.kinds
    assert (phone.kind, phone.keys, phone.linking, phone.linked_members) == ("phone", 2, 1, 3)
    assert (phone.held_back, phone.held_back_members) == (1, 500)
    assert (mail.kind, mail.keys, mail.linking, mail.linked_members, mail.held_back) == ("email", 500, 1, 2, 0)
    (held,) = found.held_back
    prefix = workspace.vault.hmac_one("phone", "+8613800138000")[:8]
    assert (held.kind, held.key, held.members, held.why) == ("phone", prefix, 500, "shared by too many members")

    assert run(["identity", "--workspace", str(workspace.root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["members"], said["persons"], said["held_back"][0]["key"]) == (505, 502, prefix)
    assert run(["identity", "--workspace", str(workspace.root)]) == 0
    text = capsys.readouterr().out
    assert "505 members are 502 persons as of 2020-01-01" in text and prefix in text
    assert "138001380" not in text

    ids = sorted(workspace.vault.member_id("till", f"B{number}") for number in range(3))
    card = member_card(workspace, ids[1])
    assert (card.person_id, card.other_members, card.person_keys) == (ids[0], (ids[0], ids[2]), ("phone",))
    alone = member_card(workspace, workspace.vault.member_id("till", "D1"))
    assert (alone.person_id, alone.other_members) == (alone.member_id, ())
