"""`data_health`: can these data be trusted – what was loaded, does every row add up, how fresh and complete
is each table, what was refused and why, and what each missing input costs."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from itertools import pairwise
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd
from sqlalchemy import select

from crm_core.reporting import blocks, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.base import View, first_row, frame, total
from crm_core.schema import LOAD, TABLES, TableSchema
from crm_core.store.clock import local_date
from crm_core.store.ledger.models import Load

FACTS = tuple(name for name in TABLES if name != "audiences")
"""Tables that sources supply; audiences are our own."""
OPTIONAL_IDS = ("referrer_member_id", "source_campaign_id", "person_id", "coupon_id", "campaign_id")
DAILY = ("orders", "order_lines", "refunds", "interactions")
"""Tables that grow every day, so that an old newest row means that a delivery is missing."""
STALE_DAYS = 7
EARLIEST = dt.datetime(1995, 1, 1)
SEQUENCE = ("ordered_at", "paid_at", "shipped_at", "delivered_at", "confirmed_at")


class DataHealth(View):
    """Sections of the data health report. `loads`: how many of the newest loads are listed."""

    reads = FACTS
    metrics = ("reconciliation", "freshness", "completeness", "validity", "rejected_share")

    def __init__(self, workspace: Any, loads: int = 20) -> None:
        super().__init__(workspace)
        self._listed = loads

    @cached_property
    def loads(self) -> pd.DataFrame:
        """Live loads, newest first: rows read, accepted, duplicate, rejected."""
        with self.workspace.ledger.session() as session:
            found = session.scalars(
                select(Load).where(Load.undone_at.is_(None)).order_by(Load.finished_at.desc())
            ).all()
            rows = [
                {
                    "load_id": row.load_id,
                    "source": row.source,
                    "finished_at": row.finished_at,
                    "read": row.rows_read,
                    "accepted": row.rows_accepted,
                    "duplicate": row.rows_duplicate,
                    "rejected": row.rows_rejected,
                }
                for row in found
            ]
        columns = ["load_id", "source", "finished_at", "read", "accepted", "duplicate", "rejected"]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def supplied(self) -> list[str]:
        """Tables of which the lake holds rows."""
        return [name for name in FACTS if self.workspace.tables.supplied(name)]

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """Per supplied table: rows, first and last local day, days between the last one and as_of."""
        rows = [self._size(TABLES[name]) for name in self.supplied]
        return pd.DataFrame(rows, columns=["table", "name", "rows", "first", "last", "days_behind"])

    def _size(self, schema: TableSchema) -> dict[str, Any]:
        tables = self.workspace.tables
        table = getattr(tables, schema.name)
        wanted: dict[str, Any] = {"rows": table.count()}
        if schema.exists_at:
            days = local_date(table[schema.exists_at], tables.zone)
            wanted |= {"first": days.min(), "last": days.max()}
        found = first_row(table.aggregate(**wanted))
        last = found.get("last")
        behind = (self.workspace.as_of - last).days if last else None
        return {
            "table": schema.name,
            "name": self.labels.name("tables", schema.name),
            "first": None,
            "last": None,
            **found,
            "days_behind": behind,
        }

    @cached_property
    def fields(self) -> pd.DataFrame:
        """Per column of the supplied tables: share of rows that have a value, share of values that are
        possible."""
        rows: list[dict[str, Any]] = []
        for name in self.supplied:
            rows += self._fields(TABLES[name])
        return pd.DataFrame(rows, columns=["table", "column", "title", "filled", "valid", "empty"])

    def _fields(self, schema: TableSchema) -> list[dict[str, Any]]:
        table = getattr(self.workspace.tables, schema.name)
        listed = [c for c in schema.columns if c.name in table.columns and c.name not in {load.name for load in LOAD}]
        wanted: dict[str, Any] = {"all": table.count()}
        for column in listed:
            value = table[column.name]
            wanted[f"has {column.name}"] = value.count()
            wanted[f"good {column.name}"] = table.count(
                where=_possible(value, column.vocabulary, self.workspace.tables.instant)
            )
        found = first_row(table.aggregate(**wanted))
        return [
            {
                "table": schema.name,
                "column": column.name,
                "title": " · ".join(
                    [self.labels.name("tables", schema.name), self.labels.name("columns", column.name)]
                ),
                "filled": numbers.share(found[f"has {column.name}"], found["all"]),
                "valid": numbers.share(found[f"good {column.name}"], found[f"has {column.name}"]),
                "empty": found["all"] - found[f"has {column.name}"],
            }
            for column in listed
        ]

    def headline(self) -> Block:  # type: ignore[override]
        """Rows read and accounted for, share refused, freshness, completeness, with one sentence."""
        read, rejected = int(total(self.loads["read"])), int(total(self.loads["rejected"]))
        accounted = int(total(self.loads["accepted"]) + total(self.loads["duplicate"]) + rejected)
        behind = self.sizes["days_behind"].dropna() if len(self.sizes) else pd.Series(dtype=float)
        used = self.fields[self.fields["filled"] > 0]
        filled = float(used["filled"].mean()) if len(used) else None
        sentence = self.text(
            "health_sentence" if read == accounted else "health_sentence_off",
            read=self.show(read, "count"),
            rejected=self.show(rejected, "count"),
            tables=len(self.supplied),
            all=len(FACTS),
            off=self.show(read - accounted, "count"),
        )
        return super().headline(
            self.card(
                "rows_read",
                read,
                "count",
                metric="reconciliation",
                sentence=self.text("adds_up" if read == accounted else "off"),
            ),
            self.card(
                "rejected_share",
                numbers.share(rejected, read),
                "percent",
                metric="rejected_share",
                sentence=self.text("rejected_rows", count=self.show(rejected, "count")),
            ),
            self.card(
                "freshness",
                behind.min() if len(behind) else None,
                "days",
                metric="freshness",
                sentence=self.text("freshness_why", date=self.workspace.as_of),
            ),
            self.card(
                "completeness",
                filled,
                "percent",
                metric="completeness",
                sentence=self.text("tables_supplied", count=len(self.supplied), all=len(FACTS)),
            ),
            sentence=sentence,
        )

    def reconciliation(self) -> Block:
        """The loads: read = accepted + duplicate + rejected, row by row."""
        if self.loads.empty:
            return self.missing(self.text("loads"), self.text("no_loads_cost"))
        rows = self.loads.head(self._listed).copy()
        rows["sum"] = [
            self.text("yes" if row.read == row.accepted + row.duplicate + row.rejected else "no")
            for row in rows.itertuples()
        ]
        zone = self.workspace.config.project.zone
        rows["when"] = [
            m.replace(tzinfo=dt.UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M") for m in self._moments(rows)
        ]
        columns = self.columns(
            when="loaded_at",
            source="source",
            read="read count @reconciliation",
            accepted="accepted count",
            duplicate="duplicate count",
            rejected="rejected count",
            sum="sum_agrees",
        )
        names = ("read", "accepted", "duplicate", "rejected")
        closing = {"when": self.text("total"), **{name: total(rows[name]) for name in names}}
        return self.table(rows, columns, total=closing if len(rows) > 1 else None)

    @staticmethod
    def _moments(rows: pd.DataFrame) -> list[dt.datetime]:
        return [moment.to_pydatetime() for moment in pd.to_datetime(rows["finished_at"])]

    def freshness(self) -> Block:
        """Rows, span and age of each table."""
        if self.sizes.empty:
            return self.missing(self.text("tables_of_lake"), self.text("no_loads_cost"))
        rows = self.sizes.copy()
        rows["state"] = [self._state(row.table, row.days_behind) for row in rows.itertuples()]
        columns = self.columns(
            name="table",
            rows="rows count bar",
            first="first_day date",
            last="last_day date @freshness",
            days_behind="days_behind days",
            state="state",
        )
        return self.table(rows, columns, more=self.text("all_tables", count=len(rows)))

    def _state(self, table: str, days: Any) -> str:
        if numbers.is_null(days) or table not in DAILY:
            return numbers.NOTHING
        return self.text("fresh" if days <= STALE_DAYS else "old")

    def completeness(self) -> Block:
        """The least complete columns as a chart; every column's completeness and validity in the table."""
        if self.fields.empty:
            return self.missing(self.text("tables_of_lake"), self.text("no_loads_cost"))
        rows = self.fields[~self.fields["column"].isin(OPTIONAL_IDS)].sort_values(["filled", "title"])
        never, rows = rows[rows["filled"] == 0], rows[rows["filled"] > 0]
        gaps = rows[rows["filled"] < 0.995].head(12)
        columns = self.columns(
            title="column",
            filled="completeness percent bar @completeness",
            valid="validity percent bar @validity",
            empty="empty count",
        )
        listed = self.table(rows, columns, more=self.text("all_columns", count=len(rows)))
        parts = [listed, *self._never_filled(never["title"].tolist())]
        if gaps.empty:
            return blocks.group(self.note("complete", "good"), *parts)
        return blocks.group(self.bars(gaps, "filled", "percent", "gaps_chart"), *parts)

    def _never_filled(self, names: list[str]) -> list[Block]:
        if not names:
            return []
        which = self.labels.joined(names[:8]) + (self.text("and_more") if len(names) > 8 else "")
        return [self.note("never_filled", count=len(names), which=which)]

    def impossible(self) -> Block:
        """Orders whose times contradict each other."""
        if "orders" not in self.supplied:
            return self.missing(self.labels.name("tables", "orders"), self.text("cost_orders"))
        orders = self.workspace.tables.orders
        pairs = list(pairwise(SEQUENCE))
        wanted = {
            f"{later}": orders.count(where=(orders[later] < orders[earlier]).fill_null(False))
            for earlier, later in pairs
        }
        found = first_row(orders.aggregate(all=orders.count(), **wanted))
        rows = pd.DataFrame(
            [
                {
                    "what": self.text(f"before_{later}"),
                    "orders": found[later],
                    "share": numbers.share(found[later], found["all"]),
                }
                for _, later in pairs
            ]
        )
        if not rows["orders"].sum():
            return self.note("no_impossible", "good", count=self.show(found["all"], "count"))
        columns = self.columns(what="contradiction", orders="orders count", share="share percent")
        return self.table(rows[rows["orders"] > 0], columns)

    def rejects(self) -> Block:
        """Refused rows by field and reason, most frequent first."""
        rejects = self._rejects()
        counted = rejects.group_by(["field", "reason"]).agg(rows=rejects.count(), files=rejects.file.nunique())
        rows = frame(counted.order_by(ibis.desc("rows"), "field", "reason").limit(40))
        if rows.empty:
            return self.note("no_rejects", "good")
        columns = self.columns(reason="reason", field="field", rows="rows count bar", files="files count")
        return self.table(rows, columns, more=self.text("all_reasons", count=len(rows)))

    def _rejects(self) -> ir.Table:
        workspace = self.workspace
        rejects = workspace.lake.table("rejects", workspace.snapshot)
        # what stood in the row is quoted in the reason; the same fault with other values is one reason
        reason = rejects.reason.re_replace("'[^']*'", "'…'").re_replace("[0-9]{7,}", "…")
        live = [str(load) for load in self.loads["load_id"]]
        return rejects.mutate(reason=reason).filter(rejects.load_id.isin(live))

    def missing_inputs(self) -> Block:
        """What was not supplied and which analyses that costs."""
        absent = [name for name in FACTS if name not in self.supplied]
        if not absent:
            return self.note("all_supplied", "good")
        rows = pd.DataFrame(
            [{"table": self.labels.name("tables", name), "cost": self.text(f"cost_{name}")} for name in absent]
        )
        columns = self.columns(table="not_there", cost="costs")
        return self.table(rows, columns)

    def next_steps(self) -> Block:
        """What to mend first."""
        items: list[tuple[str, str]] = []
        worst = self.loads.sort_values("rejected", ascending=False).head(1)
        for row in worst.itertuples():
            if row.rejected:
                items.append(
                    (
                        self.text("do_rejects", count=self.show(row.rejected, "count"), source=row.source),
                        f"crm rejects {row.load_id}",
                    )
                )
        behind = self.sizes["days_behind"].dropna().min() if len(self.sizes) else None
        if behind is not None and behind > STALE_DAYS:
            items.append((self.text("do_refresh", days=self.show(behind, "days")), "crm ingest SOURCE FILE"))
        absent = [name for name in FACTS if name not in self.supplied]
        if absent:
            listed = self.labels.joined([self.labels.name("tables", name) for name in absent[:4]])
            items.append((self.text("do_supply", tables=listed), "crm ingest SOURCE FILE --dry-run"))
        return self.steps(*items) if items else self.note("nothing_to_mend", "good")


def _possible(value: ir.Value, vocabulary: tuple[str, ...], instant: Any) -> ir.BooleanValue:
    """Whether a present value can be true: a known word, a time that is past and not absurd, an amount that
    is not negative."""
    possible: Any = value.notnull()
    if vocabulary:
        possible = value.isin(vocabulary)
    elif value.type().is_timestamp() and value.get_name() not in (
        "ends_at",
        "expires_at",
        "due_at",
        "expected_close_at",
    ):
        possible = (value < ibis.literal(instant)) & (value >= ibis.literal(EARLIEST))
    elif value.type().is_decimal():
        possible = value >= 0
    return possible.fill_null(False)
