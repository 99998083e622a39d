"""Uploaded lists: every row of the file is in the list or counted by reason; lists are kept by date."""

from __future__ import annotations

from datetime import date

import ibis
import pytest

from crm_core.config import EngineSettings
from crm_core.errors import InputError
from crm_core.store import Lake, Ledger, Vault, connect
from crm_core.tags import lists_of, upload
from tests.tags.test_tags import tags

CONF = tags(vip={"kind": "list"}, old={"kind": "list"}, rich={"kind": "rule", "when": "net_amount > 1"})
ACCOUNTS = {"jd": ("jd accounts", False), "shop": ("", True)}


@pytest.fixture
def store(tmp_path):
    engine, ledger = connect(EngineSettings(), tmp_path / "spill"), Ledger.in_folder(tmp_path)
    lake, vault = Lake(tmp_path / "lake", ledger, engine), Vault(tmp_path / "vault", ledger, engine)
    known = [*"abc", vault.member_id("jd accounts", "小王@x.cn")]
    members = ibis.memtable([{"member_id": one} for one in known])

    def put(text, name="vip", day="2026-10-31", **more):
        path = tmp_path / "名单 1.csv"
        path.write_text(text, encoding="utf-8-sig")
        return upload(path, name, CONF, lake, vault, members, ACCOUNTS, as_of=date.fromisoformat(day), **more)

    def listed(day):
        rows = lists_of(lake.table("tag_lists"), date.fromisoformat(day)).to_pyarrow().to_pylist()
        return {(row["tag"], row["member_id"]): row["value"] for row in rows}

    return put, listed, known


def test_rows_are_in_the_list_or_counted_by_reason(store):
    put, listed, known = store
    done = put("account,value\njd:小王@x.cn,gold\nshop:a,\nshop:a,\nshop:q,\nebay:a,\n,\nnothing,\n")
    assert (done.read, done.accepted, done.members) == (7, 2, 2)
    assert done.rejected == {
        "empty": 1, "not SOURCE:ID of a known source": 2, "not a known member": 1, "named twice": 1,
    }  # fmt: skip
    assert listed("2026-10-31") == {("vip", known[3]): "gold", ("vip", "a"): "true"}


def test_values_that_look_like_nothing_are_values(store):
    put, listed, _ = store
    put("member_id,value\na,NA\nb,null\nc,None\n")
    assert {one: value for (_, one), value in listed("2026-10-31").items()} == {"a": "NA", "b": "null", "c": "None"}


def test_a_list_holds_from_its_day_on_and_another_takes_its_place_or_is_added(store):
    put, listed, _ = store
    put("member_id\na\nb\n", day="2026-10-01")
    put("member_id\nc\n", day="2026-10-10")
    put("member_id\na\n", day="2026-10-10", name="old")
    put("member_id,value\nb,two\n", day="2026-10-20", merge=True)
    assert listed("2026-09-30") == {}
    assert listed("2026-10-09") == {("vip", "a"): "true", ("vip", "b"): "true"}
    assert listed("2026-10-10") == {("vip", "c"): "true", ("old", "a"): "true"}
    assert listed("2026-10-31") == {("vip", "b"): "two", ("vip", "c"): "true", ("old", "a"): "true"}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("phone\n1\n", "vip", "no column member_id or account; found: phone"),
        ("member_id\nq\n", "vip", "none of its 1 rows is a known member"),
        ("member_id\na\n", "rich", "of kind rule; only a tag of kind list takes a file"),
        ("member_id\na\n", "vipp", "did you mean 'vip'"),
        ("", "vip", "cannot be read as a list"),
    ],
)
def test_a_file_that_is_no_list_is_refused_and_nothing_is_stored(store, text, name, message):
    put, listed, _ = store
    with pytest.raises(InputError, match=message):
        put(text, name)
    assert listed("2026-10-31") == {}
