"""Files that leave: groups that add up, bytes that repeat, refusals that stop, nothing live in a cell."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crm_core.campaigns import export
from crm_core.campaigns.files import chunks, published, write_parquet, write_payload
from crm_core.campaigns.handoff import HandedOff
from crm_core.campaigns.payload import platform_form, texts
from crm_core.campaigns.records import first_hand_off, handed_cost, with_renewed
from crm_core.config import parse_yaml
from crm_core.config.campaigns import CampaignSettings
from crm_core.config.platforms import PlatformSettings
from crm_core.errors import InputError, RunFailed
from tests.campaigns.shop import CAMPAIGN, CONF, Shop, contact, member, phone

PLATFORM = parse_yaml((CONF / "platforms" / "canonical.yml").read_text(), PlatformSettings, "canonical.yml")


def _export(shop: Shop, **more: object) -> HandedOff:
    shop.frozen()
    return export(shop.config, exports_dir=shop.root / "exports", campaign="trial", **shop.parts, **more)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _ids(folder: Path, name: str) -> set[str]:
    return set(pq.read_table(folder / name)["member_id"].to_pylist())


def _suppress(shop: Shop, *members: int) -> None:
    rows = [
        {"kind": "phone", "value_hmac": shop.vault.hmac_one("phone", phone(at)), "reason": "asked", "source": "test"}
        for at in members
    ]
    shop.vault.suppress(rows)


def _recipients(shop: Shop, folder: Path) -> list[int]:
    return sorted(int(name[1:]) for name in _ids(folder, "snapshot.parquet"))


def test_selected_is_exported_and_held_out_and_rejected(shop: Shop) -> None:
    done = _export(shop)
    counts = done.counts
    assert counts["selected"] == counts["exported"] + counts["held_out"] + sum(counts["rejected"].values()) == 400
    groups = [_ids(done.folder, f"{name}.parquet") for name in ("snapshot", "holdout", "rejected")]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 400
    assert len((done.folder / "payload/part-0001.csv").read_text().splitlines()) == counts["exported"] + 1


def test_the_manifest_names_every_file_with_hash_and_rows_and_where_it_comes_from(shop: Shop) -> None:
    done = _export(shop)
    manifest = json.loads((done.folder / "manifest.json").read_text())
    listed = {each["path"]: each for each in manifest["files"]}
    found = _bytes(done.folder)
    assert set(listed) == set(found) - {"manifest.json"}
    for path, each in listed.items():
        assert each["sha256"] == hashlib.sha256(found[path]).hexdigest()
    assert sum(each["rows"] for each in manifest["files"]) == 400 + manifest["counts"]["exported"]
    assert manifest["expires_at"] == "2026-12-01T02:00:00Z" and manifest["hand_off_at"] == "2026-11-01T02:00:00Z"
    assert {"actor", "purpose", "versions", "rules", "config_hash", "audience_hash", "suppression_version"} <= set(manifest)


def test_numbers_are_in_the_payload_and_nowhere_else(shop: Shop) -> None:
    done = _export(shop)
    at = _recipients(shop, done.folder)[0]
    number = phone(at).removeprefix("+86").encode()
    holding = [path for path, content in _bytes(done.folder).items() if number in content]
    assert holding == ["payload/part-0001.csv"]
    for name in ("snapshot", "holdout", "rejected"):
        assert "contact" not in " ".join(pq.read_schema(done.folder / f"{name}.parquet").names)


def test_files_are_private(shop: Shop) -> None:
    done = _export(shop)
    assert {path.stat().st_mode & 0o077 for path in [done.folder, *done.folder.rglob("*")]} == {0}


@pytest.mark.slow
def test_the_same_hand_off_again_is_byte_identical_also_when_its_files_were_deleted(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    first = _export(shop, actor="ann")
    before = _bytes(first.folder)
    again = _export(shop, actor="bob")
    assert (again.new, again.export_id) == (False, first.export_id)
    shutil.rmtree(first.folder)
    _suppress(shop, 1)  # never consented, so not in the list: the hand-off is not concerned
    third = _export(shop)
    assert third.export_id == first.export_id and _bytes(third.folder) == before
    (third.folder / "payload/part-0001.csv").write_text("altered")
    assert _bytes(_export(shop).folder) == before


@pytest.mark.slow
def test_a_refusal_stops_the_pinned_hand_off_and_renew_lists_the_difference(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    first = _export(shop)
    out = _recipients(shop, first.folder)[:3]
    _suppress(shop, *out[:2])
    withdrawn = {"member_id": member(out[2]), "channel": "sms", "state": "revoked", "changed_at": datetime(2026, 11, 2)}
    shop.load("L2", consents=[withdrawn])
    with pytest.raises(InputError, match=r"is pinned, and 3 of its \d+ recipients .*no_consent 1, suppressed 2.*--renew"):
        _export(shop)
    renewed = _export(shop, renew=True)
    assert renewed.export_id != first.export_id and renewed.counts["exported"] == first.counts["exported"] - 3
    manifest = json.loads((renewed.folder / "manifest.json").read_text())
    difference = pq.read_table(renewed.folder / "difference.parquet").to_pylist()
    assert manifest["renews"] == first.export_id
    assert {(row["member_id"], row["change"]) for row in difference} == {(member(at), "left_out") for at in out}
    assert _export(shop).export_id == renewed.export_id
    assert shop.ledger.verify_audit() >= 3


@pytest.mark.slow
def test_contacts_twice_or_of_the_held_out_and_texts_that_would_run_are_left_out(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    live = {"member_id": member(20), "registered_at": datetime(2026, 3, 1), "tier": "gold", "city": "\tbad"}
    shop.load("L2", members=[live | {"_effective_at": datetime(2026, 4, 1)}])
    text = CAMPAIGN.replace("【商城】{tier}会员专享{offer}。", "{city}的{offer}。")
    shop = shop.with_file("campaigns/trial.yml", text)
    done = _export(shop)
    rejected = dict(map(tuple, (row.values() for row in pq.read_table(done.folder / "rejected.parquet").to_pylist())))
    shared = {rejected.get(member(7)), rejected.get(member(8))}
    assert shared & {"same_contact", "contact_of_held_out"}
    assert rejected.get(member(20), "unsafe_text") == "unsafe_text"


@pytest.mark.slow
def test_an_altered_list_is_not_handed_over(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    audience_id = shop.frozen()
    with shop.lake.write("remove") as writer:
        writer.forget("audiences", audience_id)
    with pytest.raises(RunFailed, match="are missing or were altered, so nothing is handed over"):
        export(shop.config, exports_dir=shop.root / "exports", campaign="trial", **shop.parts)
    assert not (shop.root / "exports").exists()


@pytest.mark.slow
def test_a_hand_off_time_without_zone_is_the_projects(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    local = _export(shop, at=datetime(2026, 11, 3, 18, 30))
    zoned = _export(shop, at=datetime(2026, 11, 3, 10, 30, tzinfo=UTC))
    assert local.hand_off_at == zoned.hand_off_at == datetime(2026, 11, 3, 10, 30)
    assert zoned.export_id == local.export_id


@pytest.mark.slow
def test_a_hand_off_before_the_day_of_its_list_is_refused(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    with pytest.raises(InputError, match="as of 2026-10-31 and cannot have been handed over before"):
        _export(shop, at=datetime(2025, 11, 3, 18, 30))
    assert _export(shop, at=datetime(2026, 11, 1)).counts["exported"]


@pytest.mark.slow
def test_a_list_is_not_handed_over_twice_unless_the_second_takes_the_place_of_the_first(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    first = _export(shop)
    later = datetime(2026, 11, 3, 18, 30)
    with pytest.raises(InputError, match=rf"'canonical' for 2026-11-01 10:00 already \({first.export_id}\).*--renew"):
        _export(shop, at=later)
    second = _export(shop, at=later, renew=True)
    assert second.new and second.counts["exported"] == first.counts["exported"]
    with pytest.raises(InputError, match=r"for 2026-11-03 18:30 already"):
        _export(shop)
    assert _export(shop, at=later).export_id == second.export_id
    # the first was not sent: nothing of it is paid, and the time to judge begins with the second
    assert handed_cost(shop.ledger, "trial", 1) == second.counts["cost_by_arm"]
    assert first_hand_off(shop.ledger, "trial", 1) == second.hand_off_at
    back = _export(shop, renew=True)
    assert back.export_id not in (first.export_id, second.export_id) and back.hand_off_at == first.hand_off_at
    assert [each.export_id for each in with_renewed(shop.ledger, back.export_id)] == [
        back.export_id,
        second.export_id,
        first.export_id,
    ]


@pytest.mark.slow
def test_whoever_withdrew_in_another_account_or_left_is_not_written_to(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    shop.frozen()
    listed = shop.lake.table("audiences").to_pyarrow().to_pylist()
    free = sorted(row["member_id"] for row in listed if row["status"] == "selected" and row["stratum"] != "unknown")
    gone, frozen, other, caller = free[-4:]
    # two accounts that are on no list: one of the person of `other`, one with the number of `caller`, and one that never agreed
    for at, consents in ((700, ["granted", "denied"]), (701, ["revoked"]), (702, ["denied"])):
        rows = [
            {"member_id": member(at), "channel": "sms", "state": state, "changed_at": datetime(2026, 11, 1 + day)}
            for day, state in enumerate(consents)
        ]
        shop.load(f"C{at}", consents=rows)
    start = datetime(2026, 3, 1)
    accounts = [{"member_id": member(at), "registered_at": start} for at in (700, 701, 702)]
    accounts[0]["person_id"] = accounts[2]["person_id"] = "one"
    named = [{"member_id": name, "registered_at": start, "_effective_at": datetime(2026, 4, 1)} for name in (other, gone, frozen)]
    named[0]["person_id"] = "one"
    named[1]["status"], named[2]["status"] = "closed", "frozen"
    shop.load("M", members=[*accounts, *named])
    contact(shop, "N", member(701), phone(int(caller[1:])))
    done = _export(shop)
    rejected = dict(map(tuple, (row.values() for row in pq.read_table(done.folder / "rejected.parquet").to_pylist())))
    assert (rejected[gone], rejected[frozen]) == ("not_active", "not_active")
    assert (rejected[other], rejected[caller]) == ("withdrawn", "withdrawn")
    assert done.counts["rejected"]["withdrawn"] == 2 and done.counts["rejected"]["not_active"] == 2
    # who agrees again, in whichever account, is written to again
    again = {"member_id": other, "channel": "sms", "state": "granted", "changed_at": datetime(2026, 11, 3)}
    shop.load("G", consents=[again])
    assert other in _ids(_export(shop, renew=True).folder, "snapshot.parquet")


@pytest.mark.slow
def test_a_consent_that_ended_since_the_list_was_to_be_sent_leaves_nobody_in_a_file_of_today(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    ends = {"channel": "sms", "state": "granted", "changed_at": datetime(2026, 6, 1), "expires_at": datetime(2026, 11, 10)}
    shop.load("L2", consents=[{"member_id": member(at), **ends} for at in range(600)])
    done = _export(shop)  # to be sent on 1 November, made later
    assert done.counts["exported"] == 0 and done.counts["rejected"]["no_consent"] > 300


def test_a_platform_of_another_channel_is_refused(shop: Shop) -> None:
    mail = (CONF / "platforms" / "canonical.yml").read_text().replace("channel: sms", "channel: email")
    other = shop.with_file("platforms/mail.yml", mail)
    with pytest.raises(InputError, match="platform 'mail' takes email, campaign 'trial' is sms"):
        _export(other, platform="mail")


def test_a_campaign_that_was_never_frozen_says_what_to_run(shop: Shop) -> None:
    with pytest.raises(InputError, match="no list of campaign 'second_order' was frozen; run: crm campaign freeze"):
        export(shop.config, exports_dir=shop.root / "exports", campaign="second_order", **shop.parts)


@pytest.mark.parametrize(
    ("form", "countries", "expected"),
    [
        ("national", ("86",), ["13800000001", None]),
        ("e164", (), ["+8613800000001", "+14155550100"]),
        ("digits", ("86", "1"), ["8613800000001", "14155550100"]),
    ],
)
def test_numbers_take_the_platforms_form(form: str, countries: tuple[str, ...], expected: list[str | None]) -> None:
    platform = PLATFORM.model_copy(update={"phone_format": form, "countries": countries})
    table = ibis.memtable(pa.table({"value": ["+8613800000001", "+14155550100"]}))
    found = table.select(contact=platform_form(table.value, "phone", platform)).to_pyarrow()
    assert found["contact"].to_pylist() == expected


def test_a_value_that_looks_like_a_placeholder_stays_a_value() -> None:
    settings = parse_yaml(CAMPAIGN.replace("会员专享", "{city}"), CampaignSettings, "x.yml")
    members = pa.table({"arm": ["message"], "tier": ["{city}"], "city": ["{offer}"]})
    found = texts(ibis.memtable(members), settings).to_pyarrow()["message"].to_pylist()
    assert found == ["【商城】{city}{offer}30元券。拒收请回复R"]


def test_payload_parts_encoding_line_ends_and_quotes(tmp_path: Path) -> None:
    rows = ibis.memtable(pa.table({"phone": ["1", "2", "3"], "message": ["a,b", '退订"T"', None]}))
    platform = PLATFORM.model_copy(update={"max_rows": 2, "encoding": "gb18030", "line_end": "crlf"})
    with published(tmp_path / "out") as folder:
        files = write_payload(rows, folder, platform)
    assert [(each.path, each.rows) for each in files] == [("payload/part-0001.csv", 2), ("payload/part-0002.csv", 1)]
    first = (tmp_path / "out/payload/part-0001.csv").read_bytes().decode("gb18030")
    assert first == 'phone,message\r\n1,"a,b"\r\n2,"退订""T"""\r\n'
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_character_that_the_encoding_has_not_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    rows = ibis.memtable(pa.table({"phone": ["1"], "message": ["你好"]}))
    latin = PLATFORM.model_copy(update={"encoding": "latin-1"})
    with (
        pytest.raises(RunFailed, match=r"part 1 holds a character \(U\+4F60\) that latin-1 has not"),
        published(tmp_path / "out") as folder,
    ):
        write_payload(rows, folder, latin)
    assert list(tmp_path.iterdir()) == []


def test_nobody_to_write_to_gives_headings_alone(tmp_path: Path) -> None:
    rows = ibis.memtable(pa.table({"phone": pa.array([], pa.string())}))
    with published(tmp_path / "out") as folder:
        assert [each.rows for each in write_payload(rows, folder, PLATFORM)] == [0]
    assert (tmp_path / "out/payload/part-0001.csv").read_bytes() == b"phone\n"


def test_parquet_bytes_do_not_depend_on_batches(tmp_path: Path) -> None:
    table = pa.table({"member_id": [f"m{at}" for at in range(5000)]})
    hashes = {write_parquet(ibis.memtable(table), tmp_path, f"{n}.parquet").sha256 for n in range(3)}
    assert len(hashes) == 1
    assert [piece.num_rows for piece in chunks(ibis.memtable(table), 2048)] == [2048, 2048, 904]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(RunFailed, match=r"could not be written: .*; check permissions and space")
    with refused, published(tmp_path / "file" / "out"):
        pass
