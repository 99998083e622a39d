"""Persons from one million known keys: ours (engine and scipy) against networkx over the same Parquet file.

Both read the file, drop the values that too many members share, and name each person after the member first seen; the bench
fails when the two differ for a single member. Times are medians of interleaved runs in one process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crm_core.config import EngineSettings
from crm_core.config.identity import IdentitySettings
from crm_core.store import connect
from crm_core.store.persons import find_persons

SETTINGS = IdentitySettings(keys={"phone": 5, "email": 3})


def run(rows: int = 1_000_000, runs: int = 5) -> list[dict[str, Any]]:
    """One row per contender: name, seconds (median), persons with several members."""
    with tempfile.TemporaryDirectory(prefix="crm-persons-") as folder:
        path = Path(folder) / "identities.parquet"
        pq.write_table(made_up(rows), path, compression="zstd", row_group_size=122_880)  # as the lake lays them out
        engine = connect(EngineSettings(), Path(folder) / "spill")
        ibis.set_backend(engine)
        engine.raw_sql("SET enable_progress_bar = false")
        times: dict[str, list[float]] = {"ours": [], "networkx": []}
        for number in range(runs):
            began = time.perf_counter()
            found = find_persons(engine.read_parquet(str(path)), SETTINGS).members
            times["ours"].append(time.perf_counter() - began)
            if number < 2:
                began = time.perf_counter()
                expected = with_networkx(path)
                times["networkx"].append(time.perf_counter() - began)
        ours = dict(zip(found["member_id"].to_pylist(), found["person_id"].to_pylist(), strict=True))
        assert ours == expected, "the two do not agree"
        engine.disconnect()
        ibis.options.default_backend = None  # which was this one
    several = len(set(ours.values()))
    return [{"name": name, "seconds": statistics.median(taken), "persons": several} for name, taken in times.items()]


def with_networkx(path: Path) -> dict[str, str]:
    """member → person of persons with several members, as one writes it with pandas and networkx."""
    import networkx as nx

    known = pq.read_table(path).to_pandas()
    sharing = known.groupby(["id_kind", "id_value_hash"])["member_id"].transform("size")
    used = known[sharing <= known["id_kind"].map(SETTINGS.keys)]
    graph = nx.Graph()
    graph.add_edges_from(zip(used["member_id"], used["id_kind"] + "/" + used["id_value_hash"], strict=True))
    first = known.groupby("member_id")["first_seen_at"].min().to_dict()
    found = {}
    for component in nx.connected_components(graph):
        members = [node for node in component if "/" not in node]
        if 1 < len(members) <= SETTINGS.largest_person:
            found |= dict.fromkeys(members, min(members, key=lambda member: (first[member], member)))
    return found


def made_up(rows: int, seed: int = 7) -> pa.Table:
    """About `rows` keys: of ten persons seven have one account, two have two and one has three; four accounts in five state the
    person's phone, three in five the e-mail; one account in a thousand states the shop's own phone.
    """
    rng = np.random.default_rng(seed)
    persons = rows // 2
    account_of = np.repeat(np.arange(persons), rng.choice([1, 2, 3], persons, p=[0.7, 0.2, 0.1]))
    account = np.arange(len(account_of))
    clerk = rng.random(len(account)) < 0.001
    phone, mail = rng.random(len(account)) < 0.8, rng.random(len(account)) < 0.63
    member = np.concatenate([account[phone], account[mail], account[clerk]])
    value = np.concatenate([account_of[phone], account_of[mail] + persons, np.full(clerk.sum(), 2 * persons)])
    kind = np.repeat(["phone", "email", "phone"], [phone.sum(), mail.sum(), clerk.sum()])
    order = rng.permutation(len(member))
    moments = rng.integers(1_600_000_000, 1_790_000_000, len(member)) * 1_000_000
    names = {"member_id": member[order], "id_value_hash": value[order]}
    table = pa.table({**names, "id_kind": kind[order], "first_seen_at": pa.array(moments, pa.timestamp("us"))})
    hashed = ibis.memtable(table).mutate(
        member_id=lambda t: t.member_id.cast("string").hexdigest("sha256")[:24],
        id_value_hash=lambda t: t.id_value_hash.cast("string").hexdigest("sha256"),
    )
    result: pa.Table = hashed.to_pyarrow()
    return result
