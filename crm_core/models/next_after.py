"""What members buy next: after an item, on the next day on which they buy again, against what anybody buys on such a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_core.measures import bought
from crm_core.measures.bought import Item
from crm_core.models.measures import wilson
from crm_core.store.hashing import as_float

if TYPE_CHECKING:
    from crm_core.store import Tables

NEXT = ("antecedent", "consequent", "followed", "members", "share", "low", "base", "lift", "median_days")
ENTRY = ("item", "members", "returned", "share", "low", "high", "base", "lift")


def next_after(tables: Tables, by: Item = "category", least: int = 20, most: int = 500, window: int | None = None) -> pd.DataFrame:
    """Bought A, next B: of the pairs seen at least `least` times the `most` that bring most beyond chance, the highest lift first.

    A member's purchases of one local day are one visit; the next visit is on the member's next day with a purchase. `followed`
    visits with A had B in the next one, by so many `members`; share = followed / visits with A that had a next one, `low`
    its 95 % lower bound (Wilson), base = share of all next visits that held B, lift = share / base, median_days between the two;
    beyond chance are followed × (1 − 1 / lift). A and B may be the same: bought again. Visits without a next one by `tables.as_of`
    count nowhere. `window` as in `bought`.
    """
    items = _items(tables, by, window)
    visits = _visits(items)
    again = visits.filter(visits.next_day.notnull())
    first = again.inner_join(items, ["member_id", "day"]).select("member_id", "next_day", "lag", antecedent="item")
    later = items.select("member_id", next_day="day", consequent="item")
    pairs = first.inner_join(later, ["member_id", "next_day"])
    total = max(int(again.count().to_pyarrow().as_py()), 1)
    began = first.group_by("antecedent").agg(began=first.count())
    ended = again.select("member_id", "next_day").inner_join(later, ["member_id", "next_day"])
    ended = ended.group_by("consequent").agg(ended=ended.count())
    counted = pairs.group_by(["antecedent", "consequent"]).agg(followed=pairs.count())
    counted = counted.filter(counted.followed >= least).inner_join(began, "antecedent").inner_join(ended, "consequent")
    counted = counted.mutate(beyond=(counted.followed - as_float(counted.began) * counted.ended / total).round(6))
    best = counted.order_by([counted.beyond.desc(), "antecedent", "consequent"]).limit(most).to_pyarrow()
    if not best.num_rows:
        return pd.DataFrame(columns=list(NEXT))
    # members and medians of those alone: both hold every case of a pair
    kept = pairs.inner_join(ibis.memtable(best.select(["antecedent", "consequent"])), ["antecedent", "consequent"])
    told = kept.group_by(["antecedent", "consequent"]).agg(members=kept.member_id.nunique(), median_days=kept.lag.median())
    rows = best.to_pandas().merge(told.to_pyarrow().to_pandas(), on=["antecedent", "consequent"])
    rows = _shares(rows, rows["followed"], rows["began"], rows["ended"] / total)
    return _sorted(rows, ["antecedent", "consequent"])[list(NEXT)]


def entry_items(tables: Tables, by: Item = "category", days: int = 90, least: int = 20) -> pd.DataFrame:
    """What members bought on their first visit, and whether a second one followed within `days`, the highest share first.

    Members whose first visit lies at least `days` before `tables.as_of`, items with at least `least` of them; `returned` of
    `members` came back in time; share, low and high (95 %, Wilson), base = share of all such members, lift = share / base.
    """
    items = _items(tables, by, None)
    visits = _visits(items)
    first = visits.group_by("member_id").agg(day=visits.day.min())
    ripe = first.filter(ibis.literal(tables.as_of).delta(first.day, unit="day") >= days)
    known = ripe.inner_join(visits, ["member_id", "day"])
    known = known.select("member_id", "day", back=(known.lag <= days).fill_null(False).cast("int64"))
    bought_first = known.inner_join(items, ["member_id", "day"])
    counted = bought_first.group_by("item").agg(members=bought_first.count(), returned=bought_first.back.sum())
    rows = counted.filter(counted.members >= least).to_pyarrow().to_pandas()
    whole = known.agg(members=known.count(), back=known.back.sum()).to_pyarrow().to_pylist()[0]
    rows = _shares(rows, rows["returned"], rows["members"], (whole["back"] or 0) / max(whole["members"], 1))
    return _sorted(rows, ["item"])[list(ENTRY)]


def _items(tables: Tables, by: Item, window: int | None) -> ir.Table:
    rows = bought(tables, by, window)
    return rows.filter(rows.member_id.notnull()).select("member_id", "day", "item").distinct()


def _visits(items: ir.Table) -> ir.Table:
    days = items.select("member_id", "day").distinct()
    following = days.day.lead().over(group_by="member_id", order_by="day")
    ahead = days.mutate(next_day=following)
    return ahead.mutate(lag=ahead.next_day.delta(ahead.day, unit="day"))


def _shares(rows: pd.DataFrame, part: pd.Series, whole: pd.Series, base: pd.Series | float) -> pd.DataFrame:
    share = part / whole
    low, high = wilson(share, whole)
    return rows.assign(share=share, low=low, high=high, base=base, lift=share / base)


def _sorted(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return rows.assign(order=-rows["lift"].astype(float).round(9)).sort_values(["order", *keys], ignore_index=True)
