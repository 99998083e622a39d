"""The rows of one drawn block as wide tables that every shape cuts its files from, dirt included.

    orders     one row per order             items      one row per product of an order, the order beside it
    customers  one row per member, newest    events     one row per event, its family in `family`
    consents, products, opportunities, contract_payments, campaigns: as the sample shop shows them

Every cell is text, as in a file. Columns are those of the sample's sheets (Chinese headings), with amounts and contacts
added under English names. `_refused` marks rows that a loader must refuse, `_copy` the second of two equal rows,
`_first` the first row of an order. A shop's basket holds a product once, so lines of one product are one item.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate import raw_small, words
from crm_core.simulate.arrays import NONE, Flags, Ints
from crm_core.simulate.blocks import Block
from crm_core.simulate.catalogue import Catalogue
from crm_core.simulate.columns import money, numbers, overwrite, picked, shop_money, text, times
from crm_core.simulate.dirt import BAD_TIMES, lay_out, soil
from crm_core.simulate.files import Sheet
from crm_core.simulate.raw_events import event_dirt, event_sheet
from crm_core.simulate.raw_people import consent_sheet, emails, member_sheet, phones
from crm_core.simulate.raw_trade import SoiledTrade, order_sheet
from crm_core.simulate.world import World

STREETS = ("解放路", "中山路", "人民路", "文一路", "学院路")
Frames = dict[str, pa.Table]


def frames(world: World, block: Block, trades: list[SoiledTrade], goods: Catalogue) -> Frames:
    """Every frame of one block."""
    merged = [_one_line_a_product(trade) for trade in trades]
    found: Frames = {
        "orders": pa.concat_tables(_orders(world, block, trade, goods) for trade in merged),
        "items": pa.concat_tables(_items(world, block, trade, goods) for trade in merged),
        "customers": _customers(world, block),
        "events": pa.concat_tables(
            (_events(world, block, place, goods) for place in range(len(block.events))), promote_options="permissive"
        ),
        "consents": _plain(consent_sheet(world, block)),
    }
    if block.number == 0:
        found["products"] = _plain(raw_small.product_sheet(world, goods))
        found["campaigns"] = _plain(raw_small.campaign_sheet(world))
    if block.pipeline is not None:
        found["opportunities"] = _plain(raw_small.opportunity_sheet(world, block, block.pipeline))
        found["contract_payments"] = _plain(raw_small.payment_sheet(world, block.pipeline))
    return found


def _marked(table: pa.Table, refused: Flags, copy: Flags) -> pa.Table:
    columns = {
        name: column if pa.types.is_boolean(column.type) or name.startswith("_") else column.cast(pa.string())
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns).append_column("_refused", pa.array(refused)).append_column("_copy", pa.array(copy))


def _plain(sheet: Sheet) -> pa.Table:
    """A sheet whose copies, if it has any, are its last rows, and which has nothing to refuse."""
    size = len(sheet)
    return _marked(pa.table(sheet.columns), np.zeros(size, dtype=np.bool_), np.arange(size) >= size - sheet.repeated)


def _copies(rows: Ints) -> Flags:
    """Which positions stand there a second time."""
    copy: Flags = np.ones(len(rows), dtype=np.bool_)
    copy[np.unique(rows, return_index=True)[1]] = False
    return copy


def _one_line_a_product(given: SoiledTrade) -> SoiledTrade:
    lines, dirt = given.trade.orders.lines, given.lines
    keys = lines.order * 10**9 + lines.product
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    quantity = np.bincount(place, lines.quantity).astype(np.int64)
    merged = replace(
        lines, order=lines.order[first], line_no=lines.line_no[first], product=lines.product[first],
        quantity=quantity, price=lines.price[first],
    )  # fmt: skip
    kept = {name: getattr(dirt, name)[first] for name in dirt.__dataclass_fields__}
    orders = replace(given.trade.orders, lines=merged)
    return replace(given, trade=replace(given.trade, orders=orders), lines=replace(dirt, **kept))


def _orders(world: World, block: Block, given: SoiledTrade, goods: Catalogue) -> pa.Table:
    found, dirt = given.trade.orders, given.orders
    month = world.clock.month(found.placed)
    rows = lay_out(found.placed < world.cut, dirt.repeated, month)
    sheet = pa.table(order_sheet(world, block, given).columns)
    lines = found.lines
    counts = np.bincount(lines.order, minlength=len(found))
    edges = np.append(0, np.cumsum(counts)).astype(np.int32)
    titles = pc.binary_join(pa.ListArray.from_arrays(edges, raw_small.product_names(lines.product)), "，")
    refunds = given.trade.refunds
    known = refunds.named & ~given.refunds.refused & (refunds.at < world.cut)
    back = np.bincount(refunds.order[known], refunds.amount[known], len(found)).astype(np.int64)
    paid = found.paid < world.cut
    units = np.bincount(lines.order, lines.quantity, len(found)).astype(np.int64)
    amounts = {
        "gross": found.gross, "discount": found.discount, "freight": found.freight, "goods": found.net - found.freight,
        "subtotal": found.gross - found.discount, "refunded": np.where(paid, back, 0),
        "received": np.where(paid, found.net - back, 0),
    }  # fmt: skip
    for name, fen in amounts.items():
        sheet = sheet.append_column(name, money(fen[rows]))
    people, who = block.people, found.row[rows]
    holder = pa.array(who, mask=who == NONE)
    street = pc.binary_join_element_wise(
        sheet["收货省份"], sheet["收货城市"], picked(STREETS, found.order_id[rows] % len(STREETS)), " "
    )
    number = pc.binary_join_element_wise(street, pc.binary_join_element_wise(text(numbers(rows % 900)), "号", ""), "")
    extra = {
        "net": shop_money(found.net[rows], dirt.styled[rows]),
        "phone": phones(people).take(holder), "email": emails(people).take(holder),
        "name": pa.array(words.FULL_NAMES).take(pa.array(people.name)).take(holder),
        "address": number, "title": titles.take(pa.array(rows)), "kinds": numbers(counts[rows]),
        "units": numbers(units[rows]), "_order": pa.array(rows),
    }  # fmt: skip
    for name, column in extra.items():
        sheet = sheet.append_column(name, column)
    return _marked(sheet, dirt.refused[rows], _copies(rows))


def _items(world: World, block: Block, given: SoiledTrade, goods: Catalogue) -> pa.Table:
    """One row per item; the cells of its order beside it, whatever the shape then shows of them."""
    found, dirt = given.trade.orders, given.lines
    single = replace(given, orders=replace(given.orders, repeated=np.zeros_like(given.orders.repeated)))
    orders = _orders(world, block, single, goods)
    place: Ints = np.full(len(found), NONE, dtype=np.int64)
    place[orders["_order"].to_numpy()] = np.arange(len(orders))
    lines = found.lines
    placed = found.placed[lines.order]
    rows = lay_out(placed < world.cut, dirt.repeated, world.clock.month(placed))
    table = orders.drop_columns(["_refused", "_copy"]).take(pa.array(place[lines.order[rows]]))
    product, quantity, price = lines.product[rows], lines.quantity[rows], lines.price[rows]
    first = np.append(True, lines.order[1:] != lines.order[:-1])[: len(lines.order)]
    extra = {
        "line": numbers(lines.line_no[rows]), "sku": picked(goods.codes(), product),
        "product": raw_small.product_names(product), "quantity": numbers(quantity), "price": money(price),
        "line_amount": money(price * quantity), "_first": pa.array(first[rows]),
    }  # fmt: skip
    for name, column in extra.items():
        table = table.append_column(name, column)
    return _marked(table, given.orders.refused[lines.order[rows]], _copies(rows))


def _customers(world: World, block: Block) -> pa.Table:
    """Each member's newest row; a few stand there twice."""
    log, people = block.log, block.people
    shown: Ints = np.flatnonzero(log.at < world.cut)
    newest = np.append(log.row[shown][1:] != log.row[shown][:-1], True)[: len(shown)]
    sheet = pa.table(member_sheet(world, block).columns)
    table = sheet.take(pa.array(np.flatnonzero(newest)))
    who = log.row[shown[newest]]
    orders = block.trades[0].orders
    bought = (orders.row != NONE) & (orders.paid < world.cut)
    spent = np.bincount(orders.row[bought], orders.net[bought], len(people)).astype(np.int64)
    times_ = np.bincount(orders.row[bought], minlength=len(people))
    last: Ints = np.zeros(len(people), dtype=np.int64)
    np.maximum.at(last, orders.row[bought], orders.paid[bought])
    main = people.person == people.number
    extra = {
        "spent": money(spent[who]), "orders": numbers(times_[who]), "points": numbers(spent[who] // 100),
        "last": times(np.where(last[who] > 0, last[who], world.cut), world.cut), "main": pa.array(main[who]),
        "reachable": pa.array(people.phone_state[who] == 0),
    }  # fmt: skip
    for name, column in extra.items():
        table = table.append_column(name, column)
    again = soil(world.rng("copies of customers", block.number), len(table), repeated=0.003).repeated
    rows = lay_out(np.ones(len(table), dtype=np.bool_), again)
    return _marked(table.take(pa.array(rows)), np.zeros(len(rows), dtype=np.bool_), _copies(rows))


def _events(world: World, block: Block, place: int, goods: Catalogue) -> pa.Table:
    family, events = block.events[place]
    sheet = event_sheet(world, block, place, goods)
    dirt = event_dirt(world, block, place)
    month = None if sheet.month is None else world.clock.month(events["at"])
    rows = lay_out(events["at"] < world.cut, dirt.repeated, month)
    word = {"journey": "行为", "engagement": "互动类型", "service": "记录类型", "messaging": "消息状态"}[family]
    table = pa.table(sheet.columns)
    names = ["event" if name == word else name for name in table.column_names]
    epoch = overwrite(numbers(events["at"][rows] - 8 * 3_600), dirt.bad_time[rows], BAD_TIMES)
    table = table.rename_columns(names).append_column("epoch", text(epoch))
    table = table.append_column("family", pa.array([family] * len(rows), pa.string()))
    return _marked(table, dirt.refused[rows], _copies(rows))
