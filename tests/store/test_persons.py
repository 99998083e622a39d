"""One person is one person: components over shared keys, in any order of loads, of any date, and not too large."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import networkx as nx
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crm_core.config.identity import KEYS, IdentitySettings
from crm_core.schema.vocabulary import ID_KIND
from crm_core.store import Lake, Tables
from crm_core.store.persons import Persons, find_persons
from tests.store.lakes import listed, load

FIRST = datetime(2026, 3, 1)
IDENTITIES = {"member_id": "string", "id_kind": "string", "id_value_hash": "string", "first_seen_at": "timestamp(6)"}
Known = tuple[str, str, str, int]  # member, kind, value, day


def table(known: list[Known]) -> Any:
    rows = [(member, kind, value, FIRST + timedelta(days=day)) for member, kind, value, day in known]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * 4
    schema = ibis.schema(IDENTITIES).to_pyarrow()
    return ibis.memtable(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema))


def found(known: list[Known], settings: IdentitySettings | None = None, **more: Any) -> dict[str, str]:
    return pairs(find_persons(table(known), settings or IdentitySettings(), **more))


def pairs(persons: Persons) -> dict[str, str]:
    return {row["member_id"]: row["person_id"] for row in persons.members.to_pylist()}


def held(persons: Persons) -> list[tuple[str, str, int, str]]:
    return [tuple(row.values()) for row in persons.held_back.to_pylist()]


def test_the_kinds_of_key_are_those_of_the_schema() -> None:
    assert set(KEYS) == set(ID_KIND)


def test_members_that_share_a_key_are_one_person_across_kinds_of_key() -> None:
    known = [("b", "phone", "1", 0), ("a", "phone", "1", 5), ("a", "email", "x", 6), ("c", "email", "x", 7), ("d", "email", "y", 0)]
    assert found(known) == {"a": "b", "b": "b", "c": "b"}


def test_the_person_is_the_member_first_seen_then_the_smaller_id() -> None:
    assert found([("b", "phone", "1", 0), ("a", "phone", "1", 1)]) == {"a": "b", "b": "b"}
    assert found([("b", "phone", "1", 0), ("a", "phone", "1", 0)]) == {"a": "a", "b": "a"}
    # seen by a key that links nobody is seen all the same
    assert found([("b", "phone", "1", 1), ("a", "phone", "1", 1), ("b", "email", "only hers", 0)]) == {"a": "b", "b": "b"}


def test_the_same_value_of_another_kind_is_another_key() -> None:
    assert found([("a", "phone", "1", 0), ("b", "member_card", "1", 0)]) == {}


def test_a_shop_phone_does_not_make_500_members_one_person() -> None:
    clerk = [(f"m{number:03d}", "phone", "the shop's own", 0) for number in range(500)]
    pair = [("m007", "email", "x", 0), ("m008", "email", "x", 1)]
    persons = find_persons(table([*clerk, *pair]), IdentitySettings())
    assert pairs(persons) == {"m007": "m007", "m008": "m007"}
    assert held(persons) == [("phone", "the shop's own", 500, "shared by too many members")]


@pytest.mark.parametrize(("sharing", "persons"), [(2, 1), (3, 1), (4, 4)])
def test_as_many_members_as_conf_says_may_share_a_value(sharing: int, persons: int) -> None:
    known = [(f"m{number}", "email", "x", 0) for number in range(sharing)]
    merged = found(known, IdentitySettings(keys={"email": 3}))
    assert len({merged.get(member, member) for member, *_ in known}) == persons


def test_a_kind_that_conf_leaves_out_links_nobody_and_no_kind_at_all_is_allowed() -> None:
    known = [("a", "phone", "1", 0), ("b", "phone", "1", 0), ("b", "email", "x", 0), ("c", "email", "x", 0)]
    assert found(known, IdentitySettings(keys={"email": 2})) == {"b": "b", "c": "b"}
    assert found(known, IdentitySettings(keys={})) == {}


def test_a_person_that_grew_too_large_loses_its_weakest_keys_first() -> None:
    chain = [(f"m{number}", "email", str(number + step), 0) for number in range(6) for step in (0, 1)]
    couple = [("m0", "phone", "1", 0), ("m1", "phone", "1", 0)]
    other = [("z1", "email", "z", 0), ("z2", "email", "z", 0)]
    settings = IdentitySettings(keys={"phone": 5, "email": 5}, largest_person=5)
    persons = find_persons(table([*chain, *couple, *other]), settings)
    assert pairs(persons) == {"m0": "m0", "m1": "m0", "z1": "z1", "z2": "z1"}  # the small person keeps its e-mail
    assert held(persons) == [("email", str(n), 2, "its person grew too large") for n in range(1, 6)]
    assert pairs(find_persons(table(chain), IdentitySettings(keys={"email": 2}, largest_person=5))) == {}


def test_persons_that_a_source_names_keep_that_name_and_take_in_who_shares_a_key() -> None:
    stated = ibis.memtable({"member_id": ["a", "b", "c"], "person_id": ["p1", "p1", "p2"]})
    known = [("b", "phone", "1", 0), ("z", "phone", "1", -1), ("q", "phone", "2", 0), ("r", "phone", "2", 0)]
    assert found(known, stated=stated) == {"a": "p1", "b": "p1", "z": "p1", "q": "q", "r": "q"}


def test_links_by_likeness_are_the_weakest_keys() -> None:
    links = ibis.memtable(
        {
            "member_id": ["a", "b"],
            "other_member_id": ["b", "c"],
            "member_seen_at": [FIRST, FIRST],
            "other_seen_at": [FIRST, FIRST - timedelta(days=1)],
        }
    )
    assert found([], links=links) == {"a": "c", "b": "c", "c": "c"}
    known = [("a", "phone", "1", 0), ("b", "phone", "1", 0)]
    assert found(known, IdentitySettings(largest_person=2), links=links) == {"a": "a", "b": "a"}


known_lists = st.lists(
    st.tuples(
        st.sampled_from("abcdefghij"), st.sampled_from(["phone", "email", "union_id"]), st.sampled_from("12345"), st.integers(0, 3)
    ),
    max_size=25,
    unique_by=lambda row: row[:3],
)


@hypothesis_settings(max_examples=60)
@given(known_lists, st.randoms())
def test_any_order_gives_the_components_that_networkx_finds(known: list[Known], random: Any) -> None:
    settings = IdentitySettings(keys={"union_id": 9, "phone": 3, "email": 2})
    graph = nx.Graph()
    for kind, most in settings.keys.items():
        for value in "12345":
            sharing = [row[0] for row in known if row[1:3] == (kind, value)]
            if len(sharing) <= most:
                nx.add_path(graph, sharing)
    expected = {}
    for component in nx.connected_components(graph):
        if len(component) > 1:
            name = min(component, key=lambda member: (min(row[3] for row in known if row[0] == member), member))
            expected |= dict.fromkeys(component, name)
    assert found(known, settings) == expected
    shuffled = list(known)
    random.shuffle(shuffled)
    assert found(shuffled, settings) == expected


def member_rows(*names: str) -> list[dict[str, Any]]:
    return [{"member_id": name, "registered_at": FIRST, "_effective_at": FIRST} for name in names]


def identity_rows(known: list[Known]) -> list[dict[str, Any]]:
    seen = [(row, FIRST + timedelta(days=row[3])) for row in known]
    names = ("member_id", "id_kind", "id_value_hash")
    return [dict(zip(names, row, strict=False)) | {"first_seen_at": at, "_effective_at": at} for row, at in seen]


def persons_at(lake: Lake, day: str) -> list[tuple[str, str]]:
    tables = Tables(lake, lake.snapshot(), date.fromisoformat(day), ZoneInfo("Asia/Shanghai"))
    return listed(tables.members, "member_id", "person_id")


def test_persons_follow_the_date_the_snapshot_and_an_undone_load(lake: Lake) -> None:
    load(lake, "l1", "members", member_rows("a", "b", "c"))
    load(lake, "l2", "identities", identity_rows([("c", "phone", "1", 0), ("a", "phone", "1", 4)]))
    before = lake.snapshot()
    load(lake, "l3", "identities", identity_rows([("b", "email", "x", 6), ("a", "email", "x", 8)]))
    assert persons_at(lake, "2026-03-04") == [("a", "a"), ("b", "b"), ("c", "c")]
    assert persons_at(lake, "2026-03-05") == [("a", "c"), ("b", "b"), ("c", "c")]
    assert persons_at(lake, "2026-03-10") == [("a", "c"), ("b", "c"), ("c", "c")]
    assert before is not None
    earlier = Tables(lake, before, date(2026, 3, 10), ZoneInfo("Asia/Shanghai"))
    assert listed(earlier.members, "member_id", "person_id") == [("a", "c"), ("b", "b"), ("c", "c")]
    with lake.write("undo") as writer:
        writer.forget("identities", "l2")
    assert persons_at(lake, "2026-03-10") == [("a", "b"), ("b", "b"), ("c", "c")]


def test_two_orders_of_loads_give_the_same_persons(tmp_path: Path) -> None:
    from tests.store.lakes import open_lake

    loads = [
        [("c", "phone", "1", 0), ("a", "phone", "1", 4)],
        [("b", "email", "x", 6), ("a", "email", "x", 8)],
        [("a", "email", "x", 2), ("b", "phone", "2", 1), ("d", "phone", "2", 0)],
    ]
    results = []
    for number, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 0, 2))):
        lake = open_lake(tmp_path / str(number))
        load(lake, "m", "members", member_rows("a", "b", "c", "d"))
        for place in order:
            load(lake, f"l{place}", "identities", identity_rows(loads[place]))
        results.append([persons_at(lake, f"2026-03-{day:02d}") for day in (2, 5, 10)])
    assert results[0] == results[1] == results[2]
    assert results[0][-1] == [("a", "c"), ("b", "c"), ("c", "c"), ("d", "c")]
