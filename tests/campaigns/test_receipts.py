"""Receipts: every row accounted for, nothing twice, refusals effective at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from crm_core.campaigns import HandedOff, export, receipts
from crm_core.campaigns.receipts_file import is_refusal, read_receipts
from crm_core.config import parse_yaml
from crm_core.config.platforms import PlatformSettings
from crm_core.errors import InputError, UnknownName
from crm_core.store.ledger import Load, LoadFile
from tests.campaigns.shop import CAMPAIGN, CONF, Shop, contact, phone

PLATFORM = parse_yaml((CONF / "platforms" / "canonical.yml").read_text(), PlatformSettings, "canonical.yml")
ZONE = ZoneInfo("Asia/Shanghai")


def _handed(shop: Shop) -> tuple[HandedOff, list[str]]:
    shop.frozen()
    done = export(shop.config, exports_dir=shop.root / "exports", campaign="trial", **shop.parts)
    return done, [line.split(",")[0] for line in (done.folder / "payload/part-0001.csv").read_text().splitlines()[1:]]


def _file(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["phone,status,time,reply", *rows]) + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.slow
def test_receipts_become_events_once_and_refusals_end_the_consent(new_shop: Callable[[], Shop], tmp_path: Path) -> None:
    shop = new_shop()
    done, numbers = _handed(shop)
    path = _file(
        tmp_path / "r.csv",
        f"{numbers[0]},delivered,2026-11-01 10:05:00,",
        f"+86{numbers[1]},UNDELIV,2026-11-01 10:05:00,",
        f"{numbers[2]},replied,2026-11-01 11:00:00,ｔｄ！",
        f"{numbers[3]},replied,2026-11-01 11:00:00,Really?",
        f"{numbers[0]},delivered,2026-11-01 10:09:00,",
        "13999999999,delivered,2026-11-01 10:05:00,",
        f"{numbers[4]},arrived,2026-11-01 10:05:00,",
        f"{numbers[4]},sent,yesterday,",
    )
    common = {"exports_dir": shop.root / "exports", "config": shop.config, **shop.parts}
    first = receipts(path, done.export_id, **common)
    assert (first.read, first.accepted, first.duplicate) == (8, 4, 1)
    assert first.rejected == {"unknown status": 1, "no time": 1, "not in this export": 1}
    assert first.events == {"delivered": 1, "failed": 1, "replied": 1, "sent": 2, "unsubscribed": 1}
    assert first.refusals == 1 and shop.ledger.get(Load, first.load_id).state == "live"
    with shop.ledger.session() as session:
        named = session.query(LoadFile).filter_by(load_id=first.load_id).one()
        assert (named.name, named.sha256) == ("r.csv", hashlib.sha256(path.read_bytes()).hexdigest())
    before = shop.lake.snapshot().id
    second = receipts(path, done.export_id, **common)
    assert (second.accepted, second.duplicate, second.events, second.load_id) == (0, 5, {}, "")
    assert shop.lake.snapshot().id == before
    events = shop.lake.table("interactions").to_pyarrow().to_pylist()
    assert {event["campaign_id"] for event in events} == {"trial"} and {event["channel"] for event in events} == {"sms"}
    states = shop.lake.table("consents").filter(lambda t: t.state == "revoked").to_pyarrow().to_pylist()
    refused = f"+86{numbers[2]}"
    assert [row["channel"] for row in states] == ["sms"]
    assert shop.vault.suppressions().to_pyarrow()["value_hmac"].to_pylist() == [shop.vault.hmac_one("phone", refused)]
    with pytest.raises(InputError, match="is pinned, and 1 of its"):
        _handed(shop)


@pytest.mark.slow
def test_a_refusal_counts_whatever_else_its_row_lacks_and_in_whichever_form_its_number_is(
    new_shop: Callable[[], Shop], tmp_path: Path
) -> None:
    shop = new_shop()
    abroad = (CONF / "platforms" / "canonical.yml").read_text().replace('["86"]', '["86", "44"]')
    shop = shop.with_file("platforms/canonical.yml", abroad)
    shop.frozen()
    listed = shop.lake.table("audiences").filter(lambda t: t.status == "selected").to_pyarrow().to_pylist()
    british = max(row["member_id"] for row in listed)  # the last of the file, beyond the numbers used below
    contact(shop, "uk", british, "+447911123456")
    done, numbers = _handed(shop)
    path = _file(
        tmp_path / "r.csv",
        f"{numbers[0]},replied,,TD",
        f"86{numbers[1]},replied,2026-11-01 11:00:00,T退订",
        f"0086{numbers[2]},unsubscribed,2026-11-01 11:00:00,",
        "07911123456,replied,2026-11-01 11:00:00,STOP",
        ",replied,2026-11-01 11:00:00,TD",
        f"{numbers[3]},odd,2026-11-01 11:00:00,hello",
    )
    taken = receipts(path, done.export_id, config=shop.config, exports_dir=shop.root / "exports", **shop.parts)
    assert taken.rejected == {"no time": 1, "no contact": 1, "unknown status": 1}
    assert (taken.accepted, taken.events, taken.refusals) == (3, {"unsubscribed": 3}, 4)
    refused = {f"+86{numbers[at]}" for at in range(3)} | {"+447911123456"}
    held = set(shop.vault.suppressions().to_pyarrow()["value_hmac"].to_pylist())
    assert held == {shop.vault.hmac_one("phone", each) for each in refused}
    kept = shop.lake.table("rejects").to_pyarrow().to_pylist()
    assert [(row["file"], row["row_number"], row["reason"]) for row in kept] == [
        ("r.csv", 2, "no time"), ("r.csv", 6, "no contact"), ("r.csv", 7, "unknown status"),
    ]  # fmt: skip
    assert not any(number in str(kept) for number in numbers) and f"{numbers[0][:3]}****{numbers[0][-4:]}" in kept[0]["row"]
    # a file of which nothing can be taken is a load too, once
    path = _file(tmp_path / "odd.csv", f"{numbers[3]},odd,2026-11-01 11:00:00,hello")
    common = {"config": shop.config, "exports_dir": shop.root / "exports", **shop.parts}
    odd, again = (receipts(path, done.export_id, **common) for _ in range(2))
    assert odd.rejected == again.rejected == {"unknown status": 1} and not odd.events and not again.load_id
    table = shop.lake.table("rejects")
    assert [row["file"] for row in table.filter(table.load_id == odd.load_id).to_pyarrow().to_pylist()] == ["odd.csv"]
    revoked = shop.lake.table("consents").filter(lambda t: t.state == "revoked").to_pyarrow()["member_id"].to_pylist()
    assert british in revoked and len(revoked) == 3


def test_a_platform_that_sends_nothing_has_no_receipts(new_shop: Callable[[], Shop], tmp_path: Path) -> None:
    text = CAMPAIGN.replace("metric: net_amount", "metric: net_amount\nplatform: member_list\nchannel: app")
    shop = new_shop().with_file("campaigns/trial.yml", text)
    shop.frozen()
    done = export(shop.config, exports_dir=shop.root / "exports", campaign="trial", **shop.parts)
    common = {"exports_dir": shop.root / "exports", "config": shop.config, **shop.parts}
    with pytest.raises(InputError, match="platform 'member_list' takes account ids and sends no messages, so it has no receipts"):
        receipts(_file(tmp_path / "r.csv"), done.export_id, **common)


def test_a_refusal_counts_though_its_number_is_not_in_the_export(shop: Shop, tmp_path: Path) -> None:
    done, _ = _handed(shop)
    path = _file(tmp_path / "r.csv", "13999999998,replied,2026-11-01 11:00:00,TD")
    common = {"exports_dir": shop.root / "exports", "config": shop.config, **shop.parts}
    taken = receipts(path, done.export_id, **common)
    assert (taken.rejected, taken.events, taken.refusals) == ({"not in this export": 1}, {}, 1)
    held = shop.vault.suppressions().to_pyarrow()["value_hmac"].to_pylist()
    assert shop.vault.hmac_one("phone", "+8613999999998") in held


def test_an_export_that_was_never_made_is_named(shop: Shop, tmp_path: Path) -> None:
    done, _ = _handed(shop)
    common = {"exports_dir": shop.root / "exports", "config": shop.config, **shop.parts}
    with pytest.raises(UnknownName, match=f"did you mean '{done.export_id}'"):
        receipts(_file(tmp_path / "r.csv"), done.export_id[:-1] + "x", **common)


def test_receipts_cannot_be_matched_when_the_files_of_the_export_are_gone(shop: Shop, tmp_path: Path) -> None:
    done, _ = _handed(shop)
    with pytest.raises(InputError, match=r"are gone .* so nobody can be matched"):
        receipts(_file(tmp_path / "r.csv"), done.export_id, shop.config, exports_dir=tmp_path, **shop.parts)
    assert pq.read_metadata(done.folder / "snapshot.parquet").num_rows == done.counts["exported"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a receipts file has headings phone, status, time"),
        (b"mobile,status,time\n1,sent,2026-11-01 10:00:00\n", "has no heading 'phone'; found: mobile, status, time"),
        (b"phone,status,time\n\xff\xfe\xff\n", "is not a CSV file in utf-8"),
        (b"phone,status,time\n1,2\n", "is not a CSV file"),
    ],
)
def test_a_file_that_is_no_receipts_file_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_receipts(path, PLATFORM.receipts, ZONE)


def test_a_row_that_cannot_be_read_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("phone,status,time\n13800138000,sent\n")
    with pytest.raises(InputError, match=r"Expected 3 columns, got 2$"):
        read_receipts(path, PLATFORM.receipts, ZONE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"r\.csv cannot be read: No such file"):
        read_receipts(tmp_path / "r.csv", PLATFORM.receipts, ZONE)


def test_times_are_local_and_become_utc(tmp_path: Path) -> None:
    rows, rejected = read_receipts(_file(tmp_path / "r.csv", "1,sent,2026-11-01 10:00:00,"), PLATFORM.receipts, ZONE)
    assert rows["occurred_at"].to_pylist()[0].isoformat() == "2026-11-01T02:00:00" and not rejected.num_rows


@pytest.mark.parametrize(
    "text",
    [
        "TD",
        "t",
        " R。",
        "Ｎ",
        "退订",
        "Stop!",
        "unsubscribe",
        "T退订",
        "退订 T",
        "回T",
        "请回复TD",
        "“退订”",
        "回复 退订",
        "Opt out",
    ],
)
def test_whole_words_refuse(text: str) -> None:
    assert is_refusal(text, PLATFORM.receipts.refusals)


@pytest.mark.parametrize(
    "text", ["", "Really?", "Thanks", "不要停", "到店退订单怎么办", "trend", "不要退订", "回复", "T恤", phone(1)]
)
def test_other_replies_do_not(text: str) -> None:
    assert not is_refusal(text, PLATFORM.receipts.refusals)
