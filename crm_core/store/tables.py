"""`Tables`: the canonical tables as they stood at the end of a local day – nothing later exists in them.

Rows that began later are absent, later timestamps on earlier rows are null together with the values they reveal, an
order's status is derived from what is left, refunds count from their own date, and attributes that have no timestamp of
their own (tier, city, stage) come from the versions that the source had stated by then.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from crm_core.config.identity import IdentitySettings
from crm_core.schema import LOAD, TABLES, TableSchema
from crm_core.store.changes import changed_rows
from crm_core.store.clock import day_end
from crm_core.store.lake import LINKS, Lake
from crm_core.store.ledger import Snapshot
from crm_core.store.persons import Persons, find_persons

STATUS = (
    ("closed_at", "closed"),
    ("reviewed_at", "reviewed"),
    ("confirmed_at", "confirmed"),
    ("delivered_at", "delivered"),
    ("shipped_at", "shipped"),
    ("approved_at", "approved"),
    ("paid_at", "paid"),
)
NO_CURRENCY = "XXX"
BEGINS = {"members": "registered_at", "opportunities": "created_at"}


class Tables:
    """As-of views of one snapshot. `as_of` is a local day of `zone`; `instant` the naive UTC start of the next one.

    `identity` says which keys make members one person; `among` (member_id) leaves the rows of other members out, of guests too.
    """

    def __init__(
        self,
        lake: Lake,
        snapshot: Snapshot | None,
        as_of: date,
        zone: ZoneInfo,
        identity: IdentitySettings | None = None,
        among: ir.Table | None = None,
    ) -> None:
        self._lake, self.snapshot, self.as_of, self.zone = lake, snapshot, as_of, zone
        self.identity = identity or IdentitySettings()
        self.instant = day_end(as_of, zone)
        self._among = among
        self._supplied: dict[str, bool] = {}

    def at(self, as_of: date, among: ir.Table | None = None) -> Tables:
        """The same snapshot as of another day; `among` (member_id): rows of those members alone."""
        return Tables(self._lake, self.snapshot, as_of, self.zone, self.identity, self._among if among is None else among)

    def only(self, members: ir.Table) -> Tables:
        """The same day with the rows of `members` (member_id) alone; whether orders are priced and who is one person stay
        what they are among all."""
        # all meet the condition, but only behind one does DuckDB hand what it looks for on to the reading of the files
        part = self.at(self.as_of, members.filter(members.member_id.length() >= 0).select("member_id"))
        part._supplied = self._supplied
        part.__dict__.update(priced=self.priced, persons=self.persons)
        return part

    def held(self, rows: ir.Table) -> ir.Table:
        """`rows` computed once, in a table that lasts as long as the engine's session: for few, which the engine then knows.
        Spark has no such tables."""
        engine = self._lake.engine
        return rows if engine.name == "pyspark" else engine.create_table(gen_name("held"), rows, temp=True)

    def changes(self, name: str, before: Tables, *columns: str) -> ir.Table | None:
        """`columns` of the rows of the stored table `name` that differ between the snapshots of `before` and this view."""
        if before.snapshot is None or self.snapshot is None:
            return None
        return changed_rows(self._lake, name, before.snapshot, self.snapshot, list(columns))

    def stated(self, name: str, keys: ir.Table) -> ir.Table:
        """The rows of `keys` of members, products or opportunities as the sources stated them by this day; persons are not
        worked out."""
        return self._versions(TABLES[name], keys)

    def supplied(self, name: str) -> bool:
        """Whether any row of table `name` exists as of this day."""
        if name not in self._supplied:
            schema = TABLES[name]
            stored = self._lake.table(name if schema.as_of == "timestamps" else f"{name}_versions", self.snapshot)
            begun = stored[schema.exists_at or "_effective_at"] < self.instant
            found = stored.filter(begun).limit(1).count()
            self._supplied[name] = self._lake.has_rows(name, self.snapshot) and bool(found.to_pyarrow().as_py())
        return self._supplied[name]

    @cached_property
    def priced(self) -> bool:
        """Whether any order has amounts: those of a source without prices stand at 0 in the currency XXX (ISO 4217: none)."""
        orders = self.placed_orders
        known = orders.filter(orders.currency.fill_null("") != NO_CURRENCY).limit(1).count()
        return self.supplied("orders") and bool(known.to_pyarrow().as_py())

    @cached_property
    def members(self) -> ir.Table:
        """One row per member. `person_id` is the member itself where it shares no key with another."""
        members = self._versions(TABLES["members"])
        found = self.persons.members
        if not found.num_rows:
            return members.mutate(person_id=members.person_id.coalesce(members.member_id))
        together = ibis.memtable(found).select(of_member="member_id", of_person="person_id")
        joined = members.left_join(together, members.member_id == together.of_member)
        person = ibis.coalesce(joined.of_person, joined.person_id, joined.member_id)
        return joined.mutate(person_id=person).drop("of_member", "of_person")

    @cached_property
    def persons(self) -> Persons:
        """Which members were one person as of this day, by the keys known by then; worked out once, when first asked for."""
        links = self.person_links if self.identity.probabilistic.enabled else None
        return find_persons(self.identities, self.identity, stated=self._stated_persons(), links=links)

    @property
    def person_links(self) -> ir.Table:
        """One row per pair of members alike enough to be one person; they count where conf/identity.yml asks for it."""
        stored = self.stored(LINKS.name)
        return stored.filter(stored.first_seen_at < self.instant)

    @cached_property
    def orders(self) -> ir.Table:
        """One row per order, with `refund_amount` (all its refunds so far) and `refunded_at` (the last of them)."""
        orders = self._timestamps(TABLES["orders"])
        orders = orders.mutate(status=ibis.cases(*[(orders[column].notnull(), word) for column, word in STATUS], else_="placed"))
        refunds = self.refunds.filter(self.refunds.order_id.notnull())
        per_order = refunds.group_by("order_id").agg(
            refund_amount=refunds.amount.sum().cast("decimal(18, 2)"), refunded_at=refunds.refunded_at.max()
        )
        joined = orders.left_join(per_order, "order_id").drop("order_id_right")
        return joined.mutate(refund_amount=joined.refund_amount.fill_null(ibis.literal(0).cast("decimal(18, 2)")))

    @cached_property
    def placed_orders(self) -> ir.Table:
        """The orders placed, without the join to refunds and without their status."""
        return self._timestamps(TABLES["orders"]).drop("status")

    @cached_property
    def paid_orders(self) -> ir.Table:
        """The paid orders alone, without the join to refunds: what most metrics start from."""
        orders = self.stored("orders")
        paid = orders.filter(orders.ordered_at < self.instant, orders.paid_at < self.instant)
        return self._reveal(paid, TABLES["orders"], but="paid_at").drop("status")

    @cached_property
    def order_lines(self) -> ir.Table:
        """One row per line."""
        return self._timestamps(TABLES["order_lines"])

    @cached_property
    def refunds(self) -> ir.Table:
        """One row per refund, from its own date on."""
        return self._timestamps(TABLES["refunds"])

    @cached_property
    def products(self) -> ir.Table:
        """One row per product."""
        return self._versions(TABLES["products"])

    @cached_property
    def interactions(self) -> ir.Table:
        """One row per event."""
        return self._timestamps(TABLES["interactions"])

    @cached_property
    def campaigns(self) -> ir.Table:
        """One row per campaign that has begun."""
        return self._timestamps(TABLES["campaigns"])

    @cached_property
    def consents(self) -> ir.Table:
        """One row per change of consent."""
        return self._timestamps(TABLES["consents"])

    @cached_property
    def identities(self) -> ir.Table:
        """One row per known id of a member (hashed)."""
        return self._timestamps(TABLES["identities"])

    @cached_property
    def opportunities(self) -> ir.Table:
        """One row per opportunity, in the stage it had reached."""
        return self._versions(TABLES["opportunities"])

    @cached_property
    def contract_payments(self) -> ir.Table:
        """One row per payment due of a signed contract."""
        return self._timestamps(TABLES["contract_payments"])

    @cached_property
    def audiences(self) -> ir.Table:
        """One row per audience and member considered."""
        return self._timestamps(TABLES["audiences"])

    def result(self, name: str, as_of: date | None = None) -> ir.Table:
        """The dated result `name` stored for `as_of` (default: this view's date); no rows when none is stored."""
        table = self._lake.table(name, self.snapshot)
        return table.filter(table.as_of == ibis.literal(as_of or self.as_of)).drop(
            *[column for column in table.columns if column.startswith("_")]
        )

    def results_before(self, name: str) -> ir.Table:
        """The rows of the dated result `name` of every stored date before this one, with as_of."""
        table = self._lake.table(name, self.snapshot)
        return table.filter(table.as_of < ibis.literal(self.as_of))

    @property
    def uploaded_lists(self) -> ir.Table:
        """Every uploaded list of members, with the date from which on it holds; later ones too."""
        return self._lake.table("tag_lists", self.snapshot)

    def result_basis(self, name: str, as_of: date | None = None) -> str:
        """What the stored rows of `name` for `as_of` (default: this date) were worked out from; '' where that was not noted."""
        table = self._lake.table(name, self.snapshot)
        if "_basis" not in table.columns:
            return ""
        found = table.filter(table.as_of == ibis.literal(as_of or self.as_of)).select("_basis").limit(1).to_pyarrow()
        return str(found["_basis"][0].as_py() or "") if found.num_rows else ""

    def result_dates(self, name: str) -> list[date]:
        """Dates up to this view's for which `name` is stored, oldest first."""
        return [day for day in self._lake.dates(name, self.snapshot) if day <= self.as_of]

    def _stated_persons(self) -> ir.Table | None:
        """member_id, person_id where a source states persons itself; few do, and then nothing is read but one column."""
        stored = self.stored("members_versions").person_id
        if not stored.notnull().any().to_pyarrow().as_py():
            return None
        members = self._versions(TABLES["members"]).select("member_id", "person_id")
        return members.filter(members.person_id.notnull())

    def stored(self, name: str) -> ir.Table:
        """The rows of `name` or its versions as they are stored, later ones too."""
        stored = self._lake.table(name, self.snapshot)
        if self._among is None or "member_id" not in stored.columns:
            return stored
        return stored.semi_join(self._among, "member_id")

    def _timestamps(self, schema: TableSchema) -> ir.Table:
        stored = self.stored(schema.name)
        return self._reveal(stored.filter(stored[schema.exists_at] < self.instant), schema)

    def _reveal(self, seen: ir.Table, schema: TableSchema, but: str = "") -> ir.Table:
        """`seen` without what later timestamps say; `but` is a timestamp that the caller has filtered already."""
        shown = {
            column.name: _until(seen[column.name], seen[column.name], self.instant)
            for column in schema.columns
            if column.type.startswith("timestamp") and _is_fact(column.name, schema) and column.name != but
        }
        shown |= {
            column.name: _until(seen[column.name], seen[column.seen_with], self.instant)
            for column in schema.columns
            if column.seen_with and column.seen_with != but
        }
        return _public(seen.mutate(**shown), schema)

    def _versions(self, schema: TableSchema, keys: ir.Table | None = None) -> ir.Table:
        stored = self.stored(f"{schema.name}_versions")
        if keys is not None:
            stored = stored.semi_join(keys, list(schema.key))
        known = stored.filter(stored._effective_at < self.instant)
        if schema.name in BEGINS:  # a backdated version is known before the row itself began
            began = known[BEGINS[schema.name]]
            known = known.filter(began.isnull() | (began < self.instant))
        order = [known._effective_at.desc(), known._row_hash.desc(), known.load_id.asc()]
        rank = ibis.row_number().over(ibis.window(group_by=list(schema.key), order_by=order))
        return self._reveal(known.mutate(_rank=rank).filter(lambda t: t._rank == 0), schema)


def _is_fact(name: str, schema: TableSchema) -> bool:
    """Whether a timestamp says that something happened; plans (ends, expiry, due dates) may lie in the future."""
    return name not in ("recorded_at", "ends_at", "expires_at", "due_at", "expected_close_at", schema.exists_at)


def _until(value: ir.Value, known_at: ir.TimestampValue, instant: datetime) -> ir.Value:
    return (known_at < instant).ifelse(value, ibis.null(value.type()))


def _public(table: ir.Table, schema: TableSchema) -> ir.Table:
    of_load = [column.name for column in LOAD]
    return table.select(*[name for name in schema.names if name not in of_load], "load_id")
