"""The sums of a batch: money in its accepted rows beside money in the tables made of them, and its rejects
in short.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.errors import InputError
from crm_core.ingest.expressions import amounts, numbered, numbers_in, row_functions, total
from crm_core.ingest.mapping import Mapped
from crm_core.ingest.report import RejectReport
from crm_core.ingest.rows import Context, Staged
from crm_core.store.ledger import MoneyRecord

EXAMPLES = 3


def balances_of(context: Context, staged: Staged, mapped: list[Mapped]) -> list[MoneyRecord]:
    """Each balance of the feed. InputError when one does not agree: a mapping loses or doubles money."""
    balances = staged.feed.balance
    # a total that stands in each line of an order is counted in the first that was accepted
    accepted = numbered(staged.accepted(), numbers_in(each.rows for each in balances))
    if not balances:
        return []
    texts, functions = {each.name: each.rows for each in balances}, row_functions(context.settings, accepted)
    money = accepted.select(**amounts(accepted, texts, f"{context.where}, balance", functions))
    stated = money.aggregate(**{name: total(money[name]) for name in texts}).to_pyarrow().to_pylist()[0]
    found: list[MoneyRecord] = []
    for balance in balances:
        rows = Decimal(stated[balance.name] or 0)
        written = sum((item.totals.sums.get(balance.name, Decimal(0)) for item in mapped), Decimal(0))
        if rows != written:
            raise InputError(
                f"{staged.batch.label}: {balance.name} is {rows} in the accepted rows but {written} in "
                f"{', '.join(balance.written)} (difference {rows - written}); the mapping in {context.where} "
                "loses or doubles rows: check `when` and `per` of these tables. Nothing was loaded"
            )
        found.append(MoneyRecord(staged.batch.feed, balance.name, rows, written))
    return found


def reject_summary(rejects: ir.Table) -> list[RejectReport]:
    """Rejects (file, row_number, field, reason) by file, field and kind of reason (its words without what was found): how
    many, the first three rows, the first reason.
    """
    group = ["file", "field", "kind"]
    rejects = rejects.mutate(kind=rejects.reason.re_replace(r"(?s)'.*'|\d+", ""))
    totals = rejects.group_by(group).agg(rows=rejects.count()).to_pyarrow().to_pylist()
    place = ibis.row_number().over(group_by=group, order_by=rejects.row_number)
    first = rejects.mutate(place=place).filter(lambda t: t.place < EXAMPLES)
    examples = first.select(*group, "row_number", "reason").order_by("row_number").to_pyarrow().to_pylist()
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in examples:
        found.setdefault(tuple(row[name] for name in group), []).append(row)
    reports = []
    for row in sorted(totals, key=lambda row: (row["file"], -row["rows"], row["field"] or "", row["kind"])):
        shown = found[tuple(row[name] for name in group)]
        numbers = tuple(each["row_number"] for each in shown)
        reports.append(RejectReport(row["file"], row["field"] or "", shown[0]["reason"], row["rows"], numbers))
    return reports
