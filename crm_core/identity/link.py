"""`train_links`, `link_members`: members without a shared key who are alike enough to be one person.

Training is a command of its own; linking applies its fixed weights to every pair that agrees in a block. Whether two records
are linked depends on these two records (and on how crowded their blocks are), so the links are the same whether members came
at once or in ten loads. They are worked out anew as a whole and kept in the lake's `person_links`, where snapshots pin them.

As of a date: a link exists from the moment at which everything that it was compared by had been stated – a cautious reading,
since less might have sufficed earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ibis

from crm_core.config import EngineSettings
from crm_core.config.identity import LikenessSettings
from crm_core.errors import InputError
from crm_core.identity import comparing
from crm_core.identity.model import HOW, LinkModel, read_model
from crm_core.identity.records import private_engine, records
from crm_core.store import Lake, Vault, table_hash
from crm_core.store.lake import LINKS

LEAST_FILLED = 0.02  # a kind that fewer members have teaches nothing


@dataclass(frozen=True)
class LinkReport:
    """What linking found: records compared, pairs alike enough, and whether the stored links changed."""

    members: int
    pairs: int
    changed: bool


def model_path(lake: Lake) -> Path:
    """Where the workspace keeps its model."""
    return lake.root.parent / "identity" / "model.json"


def train_links(lake: Lake, vault: Vault, settings: LikenessSettings, engine: EngineSettings, actor: str = "crm") -> LinkModel:
    """Learns the weights from all members of the vault and writes them to data/identity/model.json; the same members and
    settings give the same bytes.

    Raises InputError without splink or without contacts, RunFailed when there is too little to learn from.
    """
    comparing.splink()
    kinds = [kind for kind in settings.compare if kind in HOW]
    with private_engine(vault, engine, threads=1) as own:  # sums of floats in one order
        people = records(own, vault, kinds, (), settings.most_per_block)
        counts = people.aggregate(members=people.count(), **{kind: people[kind].count() for kind in kinds})
        filled = counts.to_pyarrow().to_pylist()[0]
        members = int(filled.pop("members"))
        known = [kind for kind in kinds if filled[kind] > LEAST_FILLED * members]
        blocks = tuple(block for block in settings.block if set(block) <= set(known))
        if len(known) < 2 or not blocks:
            raise InputError(
                f"the vault holds too little to compare by: {', '.join(known) or 'nothing'}; at least two kinds of contact and "
                "one of probabilistic.block in conf/identity.yml must be known for some members"
            )
        records(own, vault, known, blocks, settings.most_per_block)
        certain = [rule for rule in settings.certain if set(rule) <= set(known)]
        prior, weights = comparing.train(own, known, blocks, certain)
    model = LinkModel(
        trained_on_members=members, prior=prior, block=blocks, most_per_block=settings.most_per_block, weights=weights
    )
    path = model_path(lake)
    model.write(path)
    with lake.ledger.transaction() as session:
        lake.ledger.audit(session, "identity train", "model", {"members": members, "compared": model.kinds()}, actor)
    return model


def link_members(lake: Lake, vault: Vault, settings: LikenessSettings, engine: EngineSettings, actor: str = "crm") -> LinkReport:
    """Works out all links by the trained model and publishes them when they differ from those stored.

    Raises InputError when there is no model or no splink.
    """
    model = read_model(model_path(lake))
    comparing.splink()
    with lake.write("identity links", actor) as writer, private_engine(vault, engine) as own:
        people = records(own, vault, model.kinds(), model.block, model.most_per_block)
        found = comparing.alike(own, model, settings.match_probability)
        rows = own.to_pyarrow(found.order_by(["member_id", "other_member_id"]))
        members = int(own.to_pyarrow(people.count()).as_py())
        links = ibis.memtable(rows.cast(ibis.schema(LINKS.types()).to_pyarrow()))
        changed = table_hash(links) != table_hash(writer.table(LINKS.name))
        if changed:
            writer.replace(LINKS.name, links)
            writer.audit("identity link", "members", {"members": members, "pairs": rows.num_rows})
    return LinkReport(members, rows.num_rows, changed)
