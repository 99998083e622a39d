"""`find_persons`: which members are one person – connected components over the keys that members share.

The engine finds the shared keys (few, of many), scipy's csgraph the components: one million identities in well under a
second. A person is named after the member of the component that is smallest by (first seen by the source, id). All of it
is a function of the set of known keys, so neither the order of loads nor their number matters, undoing a load may split
a person again, and an earlier date gives the persons of that date.

Guards against merging too much: a value that too many members share links nobody; a person of too many members is taken
apart by holding back its weakest kind of key, then the next. Both are reported. What remains: two people who share one
phone (a couple) are one person, and a phone that changed hands joins its old and its new owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crm_core.config.identity import IdentitySettings

STATED, LINK = "stated", "likeness"
"""Kinds beside those of conf/identity.yml: a person that a source names (strongest), a probabilistic link (weakest)."""
EDGES = pa.schema([("member_id", pa.string()), ("id_kind", pa.string()), ("id_value_hash", pa.string())])
FOUND = pa.schema([("member_id", pa.string()), ("person_id", pa.string())])
HELD = pa.schema([("id_kind", pa.string()), ("id_value_hash", pa.string()), ("members", pa.int64()), ("why", pa.string())])
NO_LIMIT = np.iinfo(np.int64).max
TOO_MANY, TOO_LARGE = "shared by too many members", "its person grew too large"
Ints: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Persons:
    """Who is one person.

    `members`: member_id, person_id, of persons with two members or more; everybody else is a person alone.
    `held_back`: the keys that were not used: id_kind, id_value_hash, members (how many share it), why.
    """

    members: pa.Table
    held_back: pa.Table
    shared: pa.Table
    used: Flags

    @cached_property
    def edges(self) -> pa.Table:
        """member_id, id_kind, id_value_hash that hold these persons together."""
        return self.shared.filter(pa.array(self.used))


NOBODY = Persons(FOUND.empty_table(), HELD.empty_table(), EDGES.empty_table(), np.zeros(0, dtype=bool))


def find_persons(
    identities: ir.Table, settings: IdentitySettings, *, stated: ir.Table | None = None, links: ir.Table | None = None
) -> Persons:
    """The persons among the members of `identities` (member_id, id_kind, id_value_hash, first_seen_at).

    `stated`: member_id, person_id as a source names them. `links`: probabilistic ones: member_id, other_member_id and when
    each of the two was first seen (member_seen_at, other_seen_at).
    """
    parts = [_shared(identities, settings)]
    parts += [_stated(stated)] if stated is not None else []
    parts += [_pairs(links)] if links is not None else []
    edges = pa.concat_tables(parts)
    if not edges.num_rows:
        return NOBODY
    kinds, most = [STATED, *settings.keys, LINK], np.array([NO_LIMIT, *settings.keys.values(), NO_LIMIT])
    encoded = edges["member_id"].combine_chunks().dictionary_encode()
    members, member = encoded.dictionary, np.asarray(encoded.indices, dtype=np.int64)
    kind = np.asarray(pc.index_in(edges["id_kind"], value_set=pa.array(kinds)), dtype=np.int64)
    value = edges["id_value_hash"].combine_chunks().dictionary_encode().indices
    key = np.asarray(value, dtype=np.int64) * len(kinds) + kind  # two kinds may give out the same value
    crowded = np.bincount(key)[key] > most[kind]
    kept, labels = _components(member, key, kind, ~crowded, len(members), settings.largest_person)
    joined = np.bincount(labels)[labels] > 1
    return Persons(
        members=_named(members.filter(pa.array(joined)), labels[joined], identities, links, stated),
        held_back=_held(edges, crowded, TOO_MANY, ~kept & ~crowded, TOO_LARGE),
        shared=edges,
        used=kept & joined[member],
    )


def _shared(identities: ir.Table, settings: IdentitySettings) -> pa.Table:
    """member_id, id_kind, id_value_hash of the keys that two members or more have in common."""
    if not settings.keys:
        return EDGES.empty_table()
    known = identities.filter(identities.id_kind.isin(list(settings.keys)))
    # numbers are grouped faster than texts; values that share a number only are told apart by the caller
    numbered = known.mutate(_number=known.id_value_hash.hash())
    shared = numbered.group_by("_number").agg(members=numbered.count()).filter(lambda t: t.members > 1)
    return numbered.semi_join(shared, "_number").select(*EDGES.names).to_pyarrow().cast(EDGES)


def _stated(stated: ir.Table) -> pa.Table:
    rows = stated.select("member_id", id_kind=ibis.literal(STATED), id_value_hash=stated.person_id)
    return rows.to_pyarrow().cast(EDGES)


def _pairs(links: ir.Table) -> pa.Table:
    pair = links.select("member_id", "other_member_id", id_value_hash=links.member_id + "/" + links.other_member_id)
    ends = [pair.select(member_id=end, id_kind=ibis.literal(LINK), id_value_hash="id_value_hash") for end in pair.columns[:2]]
    return ibis.union(*ends).to_pyarrow().cast(EDGES)


def _components(member: Ints, key: Ints, kind: Ints, allowed: Flags, members: int, largest: int) -> tuple[Flags, Ints]:
    """(edges kept, component of each member): of a component that is too large the weakest kind of key goes first."""
    kept = allowed.copy()
    labels = _connected(member[kept], key[kept], members)
    for weakest in range(int(kind.max()), 0, -1):  # what a source states stays
        large = np.bincount(labels)[labels] > largest
        if not large.any():
            break
        kept &= ~(large[member] & (kind == weakest))
        labels = _connected(member[kept], key[kept], members)
    return kept, labels


def _connected(member: Ints, key: Ints, members: int) -> Ints:
    size = members + (int(key.max()) + 1 if len(key) else 0)
    from scipy.sparse import coo_matrix  # a quarter of the start of every command that needs no persons
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(member), dtype=np.int8), (member, members + key)), shape=(size, size))
    labels: Ints = connected_components(graph.tocsr(), directed=False)[1][:members].astype(np.int64)
    return labels


def _held(edges: pa.Table, crowded: Flags, too_many: str, dropped: Flags, too_large: str) -> pa.Table:
    found = []
    for unused, why in ((crowded, too_many), (dropped, too_large)):
        rows = edges.filter(pa.array(unused))
        counted = rows.group_by(["id_kind", "id_value_hash"]).aggregate([("member_id", "count")])
        columns = [counted["id_kind"], counted["id_value_hash"], counted["member_id_count"]]
        found.append(pa.table([*columns, pa.array([why] * counted.num_rows, pa.string())], schema=HELD))
    return pa.concat_tables(found).sort_by([("id_kind", "ascending"), ("id_value_hash", "ascending")])


def _named(members: Any, labels: Ints, identities: ir.Table, links: ir.Table | None, stated: ir.Table | None) -> pa.Table:
    """member_id, person_id: the name that a source gave, else the member first seen."""
    if not len(members):
        return FOUND.empty_table()
    seen = [_seen(identities, "member_id", "first_seen_at")]
    if links is not None:
        seen += [_seen(links, "member_id", "member_seen_at"), _seen(links, "other_member_id", "other_seen_at")]
    every = ibis.union(*seen) if len(seen) > 1 else seen[0]
    # asked by number: texts are joined once and neither grouped nor looked up again
    asked = ibis.memtable(pa.table({"member_id": members, "_place": np.arange(len(members))}))
    known = every.inner_join(asked, "member_id")
    first = known.group_by("_place").agg(at=known["at"].min()).to_pyarrow()
    at = np.full(len(members), NO_LIMIT, dtype=np.int64)
    at[np.asarray(first["_place"])] = np.asarray(first["at"].cast(pa.int64()).fill_null(NO_LIMIT))
    names: Any = members
    unnamed = np.ones(len(members), dtype=bool)
    if stated is not None:
        known = stated.to_pyarrow()
        given = known["person_id"].take(pc.index_in(members, value_set=known["member_id"])).combine_chunks()
        names, unnamed = pc.coalesce(given, members), np.asarray(given.is_null())
    order = np.lexsort((at, unnamed, labels))
    best = order[np.flatnonzero(np.r_[True, np.diff(labels[order]) != 0])]  # one per component, but for equal moments
    _, component = np.unique(labels, return_inverse=True)
    equal = (at == at[best][component]) & (unnamed == unnamed[best][component])
    if equal.sum() > len(best):
        order = np.lexsort((np.asarray(pc.rank(members)), ~equal, labels))
        best = order[np.flatnonzero(np.r_[True, np.diff(labels[order]) != 0])]
    place = best[component]
    return pa.table([members, names.take(pa.array(place))], schema=FOUND)


def _seen(rows: ir.Table, member: str, at: str) -> ir.Table:
    return rows.select(member_id=rows[member], at=rows[at].cast("timestamp(6)"))
