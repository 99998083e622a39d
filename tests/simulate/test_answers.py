"""After a list was sent responders on it order once more, nobody else does, and receipts account for all."""

from __future__ import annotations

import csv
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from crm_core.errors import InputError
from crm_core.simulate import simulate
from tests.simulate.worlds import UNTIL, digests, raw, truth

SENT = datetime(2026, 10, 2, 10, 0)


def _world(folder: Path, **changes: object) -> Path:
    simulate(folder, **{"members": 3_000, "days": 200, "until": UNTIL, **changes})
    return folder


def _payload(folder: Path, phones: list[str]) -> Path:
    folder.mkdir(parents=True)
    path = folder / "part-0001.csv"
    path.write_text("phone,message\n" + "".join(f"{phone},您好\n" for phone in phones), "utf-8")
    return path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("answers")
    silent = _world(root / "silent")
    members = raw(silent, "会员资料").to_pylist()
    known = {
        row["手机号"]: row["会员卡号"] for row in reversed(members) if row["手机号"].isdigit() and row["注册时间"] < "2026-10-02"
    }
    phones = sorted(known)[::2]
    payload = _payload(root / "payload", [*phones[:-1], f"+86{phones[-1]}", "13000000000"])
    return {"root": root, "silent": silent, "payload": payload, "phones": phones, "cards": known,
            "answered": _world(root / "answered", answered=[payload])}  # fmt: skip


def _extra(told: dict[str, object]) -> list[dict[str, object]]:
    before = set(truth(told["silent"], "expected_orders")["order_id"].to_pylist())
    after = truth(told["answered"], "expected_orders").to_pylist()
    return [row for row in after if row["order_id"] not in before]


def test_only_people_on_the_list_order_more_and_only_responders(told: dict[str, object]) -> None:
    extra = _extra(told)
    latent = {row["account_id"]: row for row in truth(told["silent"], "latent_members").to_pylist()}
    by_phone: dict[str, str] = told["cards"]
    listed = {latent[by_phone[phone]]["person_account_id"] for phone in told["phones"]}
    cards = [str(row["account_id"]) for row in extra]
    assert set(cards) <= listed
    assert all(latent[card]["responds_later"] for card in cards)
    responders = [card for card in listed if latent[card]["responds_later"]]
    assert 0.85 * len(responders) < len(cards) <= len(responders), "but for failed messages and closed accounts"
    assert len(set(cards)) == len(cards)


def test_the_extra_orders_fall_into_the_fortnight_after_the_message(told: dict[str, object]) -> None:
    for row in _extra(told):
        shop_time = row["ordered_at"].replace(tzinfo=None) + timedelta(hours=8)
        assert timedelta(0) < shop_time - SENT < timedelta(days=14)


def test_everything_else_in_the_world_stays_as_it_was(told: dict[str, object]) -> None:
    before, after = digests(told["silent"]), digests(told["answered"])
    changed = {name for name in before if before[name] != after[name] and "truth" not in name}
    assert changed <= {"订单_2026.csv", "订单明细_2026.csv", "退款.csv", "会员互动_2026.csv"}
    old = {row["订单编号"]: row for row in raw(told["silent"], "订单").to_pylist()}
    new = {row["订单编号"]: row for row in raw(told["answered"], "订单").to_pylist()}
    assert all(new[key] == row for key, row in old.items())


def test_receipts_say_what_became_of_every_listed_number(told: dict[str, object]) -> None:
    path = Path(str(told["answered"])) / "短信回执" / "part-0001_回执.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    first = {row["phone"]: row["status"] for row in rows if row["status"] != "replied"}
    assert set(first) == {*told["phones"], "13000000000"}
    assert first["13000000000"] == "failed"
    assert 0.005 < list(first.values()).count("failed") / len(first) < 0.06
    replies = {row["reply"] for row in rows if row["status"] == "replied"}
    assert replies <= {"R", "退订", "好的", "什么活动"}
    assert replies
    assert min(row["time"] for row in rows) >= str(SENT)


def test_before_the_message_nothing_of_it_shows(tmp_path: Path, told: dict[str, object]) -> None:
    day = date(2026, 10, 1)
    with_list = _world(tmp_path / "a", exported_on=day, answered=[told["payload"]])
    without = _world(tmp_path / "b", exported_on=day)
    assert [row for row in digests(with_list).items() if "回执" not in row[0]] == list(digests(without).items())


def test_the_time_of_sending_can_be_given(tmp_path: Path, told: dict[str, object]) -> None:
    sent = datetime(2026, 9, 10, 19, 30)
    later = _world(tmp_path / "shop", answered=[told["payload"]], sent_at=sent)
    before = set(truth(told["silent"], "expected_orders")["order_id"].to_pylist())
    extra = [row for row in truth(later, "expected_orders").to_pylist() if row["order_id"] not in before]
    assert extra
    assert min(row["ordered_at"] for row in extra).isoformat() > "2026-09-10T11:30"
    with pytest.raises(InputError, match="outside the period"):
        _world(tmp_path / "other", answered=[told["payload"]], sent_at=datetime(2027, 1, 1))


def test_a_payload_without_phones_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.csv"
    path.write_text("mobile\n13800138000\n")
    with pytest.raises(InputError, match="has no column 'phone'; found: mobile"):
        _world(tmp_path / "shop", answered=[path])
    path.write_text("phone\n138****8000\n")
    with pytest.raises(InputError, match="line 2: the cell under 'phone' is no mainland mobile"):
        _world(tmp_path / "shop", answered=[path])
    with pytest.raises(InputError, match="cannot be read"):
        _world(tmp_path / "shop", answered=[tmp_path / "absent.csv"])
