"""truth/: what really drives the sample, and the clean tables that a loader should make of the raw files.

    latent_members.parquet         per member of the world: account_id, type, rate, dropout, mean_spend, …
    campaign_assignments.parquet   campaign_id, account_id, arm, stratum, responds (potential effect)
    campaign_effects.parquet       per campaign: members, treated, true average effect on orders in 14 days
    expected_<table>.parquet       members, orders, order_lines, refunds as of the export: UTC, exact money
    expected_interactions.parquet  rows, quantity and fen per month and event
    world.json                     size, seed, period, rows, repeated and refused rows per feed

Latent values do not know of an export's date; expected tables hold what that export can know.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, HOUR, NONE, Flags, Ints
from crm_core.simulate.blocks import Block
from crm_core.simulate.catalogue import Catalogue
from crm_core.simulate.columns import money, numbers, picked, utc
from crm_core.simulate.raw_events import event_dirt
from crm_core.simulate.raw_trade import CITY_NAMES, PROVINCES, STEPS, SoiledTrade
from crm_core.simulate.world import TYPES, World

OFFSET = 8 * HOUR


class Truth:
    """Writes the truth of a world block by block; `close` adds what is only known at the end."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder, self._world = folder, world
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._closing = ExitStack()
        self._events: Counter[tuple[str, str, str]] = Counter()
        self._effects: defaultdict[tuple[str, str], float] = defaultdict(float)
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, block: Block, trades: list[SoiledTrade], goods: Catalogue) -> None:
        """Adds one block."""
        self._append("latent_members", latent(self._world, block))
        self._append("expected_members", expected_members(self._world, block))
        for found in block.assignments:
            if found.campaign.assigned_at < self._world.cut:
                self._assignment(block, found)
        for each in trades:
            self._append("expected_orders", expected_orders(self._world, block, each))
            self._append("expected_order_lines", expected_lines(self._world, each, goods))
            self._append("expected_refunds", expected_refunds(self._world, block, each))
        for place in range(len(block.events)):
            self._count_events(block, place)

    def close(self, summary: dict[str, Any]) -> None:
        """Writes the counts and closes every file."""
        cells = sorted({key[:2] for key in self._events})
        columns = {name: [self._events[(*cell, name)] for cell in cells] for name in ("rows", "quantity", "fen")}
        table = {"month": [cell[0] for cell in cells], "event": [cell[1] for cell in cells], **columns}
        self._append("expected_interactions", pa.table(table))
        self._append("campaign_effects", self._effect_table())
        self._closing.close()
        (self._folder / "world.json").write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", "utf-8")

    def _append(self, name: str, table: pa.Table) -> None:
        if name not in self._writers:
            writer = pq.ParquetWriter(self._folder / f"{name}.parquet", table.schema, compression="zstd")
            self._writers[name] = self._closing.enter_context(writer)
        if table.num_rows:
            self._writers[name].write_table(table)

    def _assignment(self, block: Block, found: Any) -> None:
        campaign = found.campaign
        expected = np.array([each.effects[campaign.number - 1] for each in TYPES])[block.people.kind[found.row]]
        size = len(found.row)
        counts = {"members": size, "treated": int(found.treated.sum()), "responders": int(found.responds.sum())}
        for name, value in {**counts, "expected": float(expected.sum())}.items():
            self._effects[campaign.campaign_id, name] += value
        self._append(
            "campaign_assignments",
            pa.table(
                {
                    "campaign_id": pa.array([campaign.campaign_id] * size, pa.string()),
                    "account_id": numbers(block.people.card[found.row]).cast(pa.string()),
                    "arm": picked(("control", "message"), found.treated.astype(np.int64)),
                    "stratum": found.stratum,
                    "responds": found.responds,
                    "expected_effect": expected,
                }
            ),
        )

    def _effect_table(self) -> pa.Table:
        campaigns = sorted({key[0] for key in self._effects})

        def column(name: str) -> Any:
            return np.array([self._effects[campaign, name] for campaign in campaigns], dtype=np.float64)

        members = np.maximum(column("members"), 1)
        return pa.table(
            {
                "campaign_id": pa.array(campaigns, pa.string()),
                "members": column("members").astype(np.int64),
                "treated": column("treated").astype(np.int64),
                "true_effect_orders": column("responders") / members,
                "expected_effect_orders": column("expected") / members,
            }
        )

    def _count_events(self, block: Block, place: int) -> None:
        events, dirt = block.events[place][1], event_dirt(self._world, block, place)
        good = (events["at"] < self._world.cut) & ~dirt.refused
        months, names = self._world.clock.months, list(words.EVENTS.values())
        cell = self._world.clock.month(events["at"][good]) * len(names) + events["event"][good]
        for name, values in (("rows", None), ("quantity", events["quantity"][good]), ("fen", events["amount"][good])):
            sums = np.bincount(cell, None if values is None else np.maximum(values, 0)).astype(np.int64)
            for key in np.flatnonzero(sums).tolist():
                self._events[months[key // len(names)], names[key % len(names)], name] += int(sums[key])


def latent(world: World, block: Block) -> pa.Table:
    """What drives each member; `exposure` is operational days alive and observed after the first order."""
    people, process = block.people, block.process
    shape = np.array([each.p for each in TYPES])[people.kind]
    columns = {
        "account_id": numbers(people.card).cast(pa.string()),
        "person_account_id": numbers(people.card[people.person - people.number[0]]).cast(pa.string()),
        "type": picked([each.name for each in TYPES], people.kind),
        "rate": people.rate,
        "dropout": people.dropout,
        "mean_spend": shape / people.spend_rate,
        "buyer": people.buyer,
        "repeat_purchases": process.repeats,
        "exposure": process.exposure,
        "dropped_out": process.ended,
        "favourite_category": people.taste,
        "registered_at": utc(people.registered_at, world.clock.end, OFFSET),
    }
    effects = {f"responds_{name}": people.responder[place] for place, name in enumerate(("past_1", "past_2", "later"))}
    return pa.table({**columns, **effects})


def expected_members(world: World, block: Block) -> pa.Table:
    """The newest known row of each member."""
    people, log = block.people, block.log
    known = np.flatnonzero(log.at < world.cut)
    last = known[np.append(log.row[known][1:] != log.row[known][:-1], True)] if len(known) else known
    who = log.row[last]
    return pa.table(
        {
            "account_id": numbers(people.card[who]).cast(pa.string()),
            "registered_at": utc(people.registered_at[who], world.cut, OFFSET),
            "source_channel": picked(list(words.CHANNELS.values()), people.channel[who]),
            "gender": picked(list(words.GENDERS.values()), people.gender[who]),
            "province": picked(PROVINCES, log.city[last]),
            "city": picked(CITY_NAMES, log.city[last]),
            "tier": picked(words.TIERS, log.tier[last]),
            "status": picked(list(words.STATUSES.values()), log.status[last]),
        }
    )


def _account(block: Block, row: Ints) -> pa.Array:
    return numbers(np.where(row == NONE, NONE, block.people.card[row])).cast(pa.string())


def expected_orders(world: World, block: Block, given: SoiledTrade) -> pa.Table:
    """Accepted orders as the export knows them."""
    found, cut = given.trade.orders, world.cut
    rows: Ints = np.flatnonzero((found.placed < cut) & ~given.orders.refused)
    steps = {f"{step}_at": utc(getattr(found, step)[rows], cut, OFFSET) for step in STEPS}
    reviewed: Flags = found.reviewed[rows] >= cut
    return pa.table(
        {
            "order_id": numbers(found.order_id[rows]).cast(pa.string()),
            "account_id": _account(block, found.row[rows]),
            "channel": picked(list(words.CHANNELS.values()), found.channel[rows]),
            "ordered_at": utc(found.placed[rows], cut, OFFSET),
            **steps,
            "review_score": numbers(found.score[rows], reviewed),
            "gross_amount": money(found.gross[rows]),
            "discount_amount": money(found.discount[rows]),
            "shipping_amount": money(found.freight[rows]),
            "net_amount": money(found.net[rows]),
        }
    )


def expected_lines(world: World, given: SoiledTrade, goods: Catalogue) -> pa.Table:
    """Lines of accepted orders."""
    found = given.trade.orders
    lines = found.lines
    rows = np.flatnonzero((found.placed[lines.order] < world.cut) & ~given.lines.refused)
    return pa.table(
        {
            "order_id": numbers(found.order_id[lines.order[rows]]).cast(pa.string()),
            "line_no": lines.line_no[rows],
            "product_id": picked(goods.codes(), lines.product[rows]),
            "quantity": lines.quantity[rows],
            "line_amount": money(lines.price[rows] * lines.quantity[rows]),
        }
    )


def expected_refunds(world: World, block: Block, given: SoiledTrade) -> pa.Table:
    """Accepted refunds."""
    found = given.trade.refunds
    rows = np.flatnonzero((found.at < world.cut) & ~given.refunds.refused)
    return pa.table(
        {
            "refund_id": numbers(found.refund_id[rows]).cast(pa.string()),
            "order_id": numbers(given.trade.orders.order_id[found.order[rows]], ~found.named[rows]).cast(pa.string()),
            "account_id": _account(block, found.row[rows]),
            "refunded_at": utc(found.at[rows], world.cut, OFFSET),
            "amount": money(found.amount[rows]),
            "kind": picked(list(words.REFUND_KINDS.values()), found.kind[rows]),
            "days_after_payment": (found.at[rows] - given.trade.orders.paid[found.order[rows]]) // DAY,
        }
    )
