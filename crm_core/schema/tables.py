"""The canonical tables: the one place where a column's type, unit, meaning and rule are written."""

from __future__ import annotations

from crm_core.schema import vocabulary as words
from crm_core.schema.table import Column, Rule, TableSchema

TEXT, TIME, DATE, COUNT, FLAG = "string", "timestamp(6)", "date", "int64", "boolean"
MONEY, PRICE, NUMBER = "decimal(18, 2)", "decimal(18, 6)", "float64"
CURRENCY = Column("currency", TEXT, "ISO 4217 code of the amounts in this row")
LOAD = (
    Column("load_id", TEXT, "the load that brought this row", nullable=False),
    Column("recorded_at", TIME, "when that load took it in", "UTC", nullable=False),
)


def _time(name: str, meaning: str, *, nullable: bool = True, seen_with: str = "") -> Column:
    return Column(name, TIME, meaning, "UTC", nullable=nullable, seen_with=seen_with)


def _money(name: str, meaning: str, *, nullable: bool = True, seen_with: str = "") -> Column:
    return Column(name, MONEY, meaning, "currency", nullable=nullable, seen_with=seen_with)


def _coded(name: str, meaning: str, vocabulary: tuple[str, ...], *, nullable: bool = True, seen_with: str = "") -> Column:
    return Column(name, TEXT, meaning, nullable=nullable, vocabulary=vocabulary, seen_with=seen_with)


def _id(name: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, TEXT, meaning, nullable=nullable)


MEMBER = _id("member_id", "pseudonymous member; keyed HMAC of the account", nullable=True)

MEMBERS = TableSchema(
    "members",
    "one row per member",
    ("member_id",),
    (
        _id("member_id", "pseudonymous member; keyed HMAC of (account namespace, account id), or a plain number"),
        _time("registered_at", "when the membership began"),
        _coded("source_channel", "channel through which the member came", words.CHANNEL),
        Column("source_campaign_id", TEXT, "campaign that brought the member"),
        Column("referrer_member_id", TEXT, "member who referred this one"),
        Column("person_id", TEXT, "the person behind one or more memberships"),
        _coded("gender", "as stated by the member", words.GENDER),
        Column("birth_year", COUNT, "year of birth", "year"),
        Column("birth_month", COUNT, "month of birth", "1–12"),
        Column("occupation", TEXT, "as stated by the member", free_text=True),
        Column("interests", TEXT, "interests, separated by ;", free_text=True),
        Column("country", TEXT, "country"),
        Column("province", TEXT, "province or state"),
        Column("city", TEXT, "city"),
        Column("tier", TEXT, "membership tier in the shop's own words"),
        _coded("status", "state of the membership", words.MEMBER_STATUS),
        *LOAD,
    ),
    as_of="versions",
    rules=(
        Rule("birth_month is 1–12", "is_null(birth_month) or between(birth_month, 1, 12)"),
        Rule("birth_year is 1900–2100", "is_null(birth_year) or between(birth_year, 1900, 2100)"),
    ),
)

ORDERS = TableSchema(
    "orders",
    "one row per order",
    ("order_id",),
    (
        _id("order_id", "order"),
        Column("member_id", TEXT, "member who ordered; empty for a guest"),
        Column("shop_id", TEXT, "shop"),
        _coded("channel", "sales channel", words.CHANNEL),
        _time("ordered_at", "placed", nullable=False),
        _time("paid_at", "paid"),
        _time("approved_at", "approved by the shop"),
        _time("shipped_at", "handed to the carrier"),
        _time("delivered_at", "signed for"),
        _time("confirmed_at", "receipt confirmed"),
        _coded("confirmed_by", "who confirmed", words.CONFIRMED_BY, seen_with="confirmed_at"),
        _time("reviewed_at", "reviewed"),
        Column("review_score", NUMBER, "score of the review", "1–5", seen_with="reviewed_at"),
        _time("closed_at", "closed without being fulfilled"),
        _coded("status", "derived from the timestamps", words.ORDER_STATUS),
        _money("gross_amount", "goods at list price", nullable=False),
        _money("discount_amount", "all discounts, positive", nullable=False),
        _money("shipping_amount", "freight paid by the buyer", nullable=False),
        _money("net_amount", "what was to be paid: gross − discount + shipping; refunds not taken off", nullable=False),
        CURRENCY,
        Column("payment_method", TEXT, "how it was paid", seen_with="paid_at"),
        Column("coupon_id", TEXT, "coupon used"),
        Column("campaign_id", TEXT, "campaign that the shop credits"),
        Column("country", TEXT, "country of delivery"),
        Column("province", TEXT, "province of delivery"),
        Column("city", TEXT, "city of delivery"),
        *LOAD,
    ),
    exists_at="ordered_at",
    month_of="ordered_at",
    rules=(
        Rule("net = gross − discount + shipping", "net_amount == gross_amount - discount_amount + shipping_amount"),
        Rule("discount is not negative", "discount_amount >= 0"),
        Rule("review_score is 1–5", "is_null(review_score) or between(review_score, 1, 5)"),
    ),
)

ORDER_LINES = TableSchema(
    "order_lines",
    "one row per line of an order",
    ("order_id", "line_no"),
    (
        _id("order_id", "order"),
        Column("line_no", COUNT, "number of the line, its own within the order", nullable=False),
        _time("ordered_at", "when the order was placed", nullable=False),
        Column("product_id", TEXT, "product"),
        Column("quantity", NUMBER, "units ordered", "units", nullable=False),
        Column("unit_price", PRICE, "price of one unit", "currency", nullable=False),
        _money("line_amount", "round(quantity × unit_price, 2)", nullable=False),
        *LOAD,
    ),
    exists_at="ordered_at",
    month_of="ordered_at",
)

REFUNDS = TableSchema(
    "refunds",
    "one row per refund",
    ("refund_id",),
    (
        _id("refund_id", "refund"),
        Column("order_id", TEXT, "order refunded; empty when unmatched"),
        Column("line_no", COUNT, "line refunded"),
        MEMBER,
        _time("refunded_at", "when the money went back", nullable=False),
        Column("date_assumed", FLAG, "true when the source gives no date and one was assumed", nullable=False),
        Column("quantity", NUMBER, "units returned", "units"),
        _money("amount", "money returned, positive", nullable=False),
        CURRENCY,
        _coded("kind", "refund, cancellation or adjustment", words.REFUND_KIND, nullable=False),
        Column("reason", TEXT, "reason in the shop's words", free_text=True),
        *LOAD,
    ),
    exists_at="refunded_at",
    month_of="refunded_at",
    grows=("amount",),
)

PRODUCTS = TableSchema(
    "products",
    "one row per product",
    ("product_id",),
    (
        _id("product_id", "product"),
        Column("product_name", TEXT, "name"),
        Column("category", TEXT, "category"),
        Column("subcategory", TEXT, "subcategory"),
        Column("brand", TEXT, "brand"),
        Column("list_price", PRICE, "price before discounts", "currency"),
        Column("unit_cost", PRICE, "purchase cost of one unit", "currency"),
        CURRENCY,
        *LOAD,
    ),
    as_of="versions",
)

INTERACTIONS = TableSchema(
    "interactions",
    "one row per event",
    ("event_id",),
    (
        _id("event_id", "event"),
        MEMBER,
        Column("visitor_id", TEXT, "anonymous visitor"),
        _time("occurred_at", "when it happened", nullable=False),
        _coded("event", "what happened", words.EVENT, nullable=False),
        _coded("channel", "where it happened", words.CHANNEL),
        Column("campaign_id", TEXT, "campaign"),
        Column("product_id", TEXT, "product"),
        Column("order_id", TEXT, "order"),
        Column("coupon_id", TEXT, "coupon"),
        Column("case_id", TEXT, "service case"),
        Column("opportunity_id", TEXT, "opportunity"),
        Column("owner", TEXT, "employee code"),
        Column("duration_seconds", NUMBER, "duration", "s"),
        Column("quantity", NUMBER, "points, units or score, after the event's nature"),
        _money("amount", "money, after the event's nature"),
        CURRENCY,
        Column("detail", TEXT, "further detail without personal data", free_text=True),
        *LOAD,
    ),
    exists_at="occurred_at",
    month_of="occurred_at",
)

CAMPAIGNS = TableSchema(
    "campaigns",
    "one row per campaign",
    ("campaign_id",),
    (
        _id("campaign_id", "campaign"),
        Column("name", TEXT, "name"),
        Column("objective", TEXT, "what it is for"),
        _coded("channel", "channel", words.CHANNEL),
        _time("starts_at", "start", nullable=False),
        Column("ends_at", TIME, "planned end", "UTC"),
        _money("budget", "budget"),
        CURRENCY,
        Column("target_metric", TEXT, "metric it is judged by"),
        Column("target_value", NUMBER, "target of that metric"),
        Column("unit_cost", PRICE, "cost per message", "currency"),
        Column("offer", TEXT, "offer"),
        *LOAD,
    ),
    exists_at="starts_at",
    rules=(Rule("ends after it starts", "is_null(ends_at) or ends_at >= starts_at"),),
)

CONSENTS = TableSchema(
    "consents",
    "one row per member, channel and change; two changes at one moment are two rows",
    ("member_id", "channel", "changed_at", "state"),
    (
        _id("member_id", "member"),
        _coded("channel", "channel the consent is for", words.CHANNEL, nullable=False),
        _coded("state", "granted, denied or revoked", words.CONSENT_STATE, nullable=False),
        Column("basis", TEXT, "legal basis"),
        Column("source", TEXT, "where it was given"),
        Column("text_version", TEXT, "version of the text agreed to"),
        _time("changed_at", "when the state changed", nullable=False),
        Column("expires_at", TIME, "end of validity", "UTC"),
        *LOAD,
    ),
    exists_at="changed_at",
)

IDENTITIES = TableSchema(
    "identities",
    "one row per known id of a member",
    ("id_kind", "id_value_hash", "member_id"),
    (
        _coded("id_kind", "kind of id", words.ID_KIND, nullable=False),
        Column("id_value_hash", TEXT, "keyed HMAC of the normalised id", nullable=False),
        _id("member_id", "member"),
        _time("first_seen_at", "first seen by the source", nullable=False),
        *LOAD,
    ),
    exists_at="first_seen_at",
    first_wins=True,
)

OPPORTUNITIES = TableSchema(
    "opportunities",
    "one row per opportunity",
    ("opportunity_id",),
    (
        _id("opportunity_id", "opportunity"),
        MEMBER,
        Column("owner", TEXT, "employee code"),
        Column("team", TEXT, "team"),
        Column("source", TEXT, "where the lead came from"),
        _coded("stage", "stage", words.STAGE),
        _money("amount", "expected amount"),
        _time("created_at", "created", nullable=False),
        _time("stage_changed_at", "last change of stage"),
        Column("expected_close_at", TIME, "expected close", "UTC"),
        _time("closed_at", "closed"),
        _coded("outcome", "won or lost", words.OUTCOME, seen_with="closed_at"),
        Column("lost_reason", TEXT, "why it was lost", seen_with="closed_at", free_text=True),
        Column("contract_id", TEXT, "contract that came of it", seen_with="closed_at"),
        CURRENCY,
        *LOAD,
    ),
    as_of="versions",
)

CONTRACT_PAYMENTS = TableSchema(
    "contract_payments",
    "one row per payment due",
    ("contract_id", "payment_no"),
    (
        _id("contract_id", "contract"),
        Column("payment_no", COUNT, "number of the payment, from 1", nullable=False),
        Column("opportunity_id", TEXT, "opportunity"),
        _time("signed_at", "contract signed", nullable=False),
        Column("due_at", TIME, "due", "UTC"),
        _time("paid_at", "paid"),
        _money("amount", "amount due", nullable=False),
        CURRENCY,
        *LOAD,
    ),
    exists_at="signed_at",
)

AUDIENCES = TableSchema(
    "audiences",
    "one row per audience and member considered",
    ("audience_id", "member_id"),
    (
        _id("audience_id", "audience: one frozen list"),
        Column("campaign_id", TEXT, "campaign", nullable=False),
        Column("wave", COUNT, "wave of the campaign, from 1", nullable=False),
        _id("member_id", "member"),
        Column("person_id", TEXT, "person, the unit of randomisation", nullable=False),
        Column("arm", TEXT, "arm; 'control' is held out; empty when rejected"),
        Column("stratum", TEXT, "stratum of the randomisation"),
        _coded("status", "selected, held out or rejected", words.AUDIENCE_STATUS, nullable=False),
        Column("reason", TEXT, "why rejected"),
        _time("assigned_at", "when the arm was fixed", nullable=False),
        *LOAD,
    ),
    exists_at="assigned_at",
)

TABLES: dict[str, TableSchema] = {
    table.name: table
    for table in (
        MEMBERS, ORDERS, ORDER_LINES, REFUNDS, PRODUCTS, INTERACTIONS, CAMPAIGNS, CONSENTS, IDENTITIES, OPPORTUNITIES,
        CONTRACT_PAYMENTS, AUDIENCES,
    )
}  # fmt: skip
