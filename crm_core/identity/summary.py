"""`identity_summary`: how members became persons, in numbers – for `crm identity` and data_health; no value of a key."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from crm_core.store import Tables

SHOWN = 10
PREFIX = 8


@dataclass(frozen=True)
class KindSummary:
    """One kind of key. `keys`: distinct values known; `linking`: values that join members; `linked_members`: members so joined;
    `held_back`: values not used; `held_back_members`: memberships on those.
    """

    kind: str
    keys: int
    linking: int
    linked_members: int
    held_back: int
    held_back_members: int


@dataclass(frozen=True)
class HeldBack:
    """A key that links nobody: kind, the first digits of its hash, members that share it, why."""

    kind: str
    key: str
    members: int
    why: str


@dataclass(frozen=True)
class IdentitySummary:
    """Members and persons as of a date. `merged_members`: members of persons with more than one membership."""

    members: int
    persons: int
    merged_members: int
    merged_persons: int
    largest_person: int
    kinds: tuple[KindSummary, ...]
    held_back: tuple[HeldBack, ...]


def identity_summary(tables: Tables) -> IdentitySummary:
    """The summary as of `tables.as_of`. `held_back` lists the ten keys that most members share.

    `members` are those of the members table; a person's size counts memberships known by their keys alone as well.
    """
    members, found = tables.members, tables.persons
    counted = members.aggregate(members=members.count(), persons=members.person_id.nunique()).to_pyarrow().to_pylist()[0]
    sizes = pc.value_counts(found.members["person_id"].combine_chunks())
    sizes = sizes.field("counts").to_pylist()
    identities = tables.identities
    known = identities.group_by("id_kind").agg(keys=identities.id_value_hash.nunique()).to_pyarrow()
    keys = dict(zip(known["id_kind"].to_pylist(), known["keys"].to_pylist(), strict=True))
    used = found.edges.group_by("id_kind").aggregate([("id_value_hash", "count_distinct"), ("member_id", "count_distinct")])
    linking = {row["id_kind"]: (row["id_value_hash_count_distinct"], row["member_id_count_distinct"]) for row in used.to_pylist()}
    unused = found.held_back.group_by("id_kind").aggregate([("members", "count"), ("members", "sum")])
    held = {row["id_kind"]: (row["members_count"], row["members_sum"]) for row in unused.to_pylist()}
    kinds = tuple(
        KindSummary(kind, keys.get(kind, linking.get(kind, (0, 0))[0]), *linking.get(kind, (0, 0)), *held.get(kind, (0, 0)))
        for kind in dict.fromkeys([*tables.identity.keys, *sorted(keys), *sorted(linking)])
    )
    top = found.held_back.sort_by([("members", "descending"), ("id_kind", "ascending"), ("id_value_hash", "ascending")])
    return IdentitySummary(
        members=int(counted["members"]),
        persons=int(counted["persons"]),
        merged_members=found.members.num_rows,
        merged_persons=len(sizes),
        largest_person=max(sizes, default=1 if counted["members"] else 0),
        kinds=kinds,
        held_back=tuple(
            HeldBack(row["id_kind"], row["id_value_hash"][:PREFIX], row["members"], row["why"])
            for row in top.slice(0, SHOWN).to_pylist()
        ),
    )
