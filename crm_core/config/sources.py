"""conf/sources/NAME.yml: how the files of one source are read and what they become in the lake.

A source has feeds (kinds of file). A feed says how to read (`reader`), which headings become which typed
fields (`fields`), which rows are refused (`reject_when`), what the rows become (`tables`), whose contact data
they carry (`contacts`) and which sums must agree (`balance`). Expressions are those of
`crm_core.schema.expressions`; in `tables` also `account(field)` (the pseudonymous member id; the mapping goes
to the vault), `fingerprint(field, …)` (an id for rows that have none: equal cells give equal ids), `number_of(field, …)` (the
same as a whole number, such as for the lines of an order: whatever file or place they come from, they are the same lines),
`number_within(field, …)` (1, 2, … by file order, which tells equal ones apart), `year(date)`, `month(date)`,
`part(text, separator, n)` and, where `per` groups rows of one file, `total(x) earliest(x) latest(x) first(x) any_value(x) count()`.

Shapes that a file may have beyond a table with headings:

    reader: {headings: [user_id, item_id, at]}   # the file has no row of headings; these are its columns in order
    reader: {format: jsonl}                      # one JSON object a line; headings are its keys, nested ones as a.b
    reader: {short_rows: fill}                   # rows with too few cells get empty ones at their end
    distributor: {heading: 分销员#2}              # the second of several columns of one heading
    at: {heading: at, type: time, formats: [epoch_s]}            # seconds (epoch_ms: milliseconds) since 1970 in UTC
    amount: {heading: 订单金额, type: money, strip: "（.*）$"}     # what is taken off a cell before it is read
    carry: {by: [order_id], fields: [paid_at, total]}            # of a feed: cells that stand in a group's first row only

Rows may also come from a database: `crm_core.config.databases` has the form. One example:

    source: corner_shop
    title: {en: Corner shop, zh: 街角小店}
    time_zone: Asia/Shanghai          # of times without an offset; default: the project's
    currency: CNY                     # default: the project's; fills every empty `currency` column
    money_unit: yuan                  # or fen: money and price fields are divided by 100
    ids: hmac                         # or plain: account ids are bare numbers and stay as they are
    namespace: corner_shop            # sources with one member base share it; default: the source
    backdate: false                   # true: the first known attributes hold for all earlier dates too
    inbox: {settle_seconds: 2, after: delete}   # or leave: files of data/inbox/corner_shop that are in the lake
    feeds:
      orders:
        match: ["订单*.csv", "订单*.csv.gz", "订单*.xlsx"]
        reader: {encoding: auto, delimiter: auto, nulls: ["", "NULL", "-"]}
        repeated_rows: duplicate      # or keep: identical rows are legitimate (lines of an invoice)
        fields:
          order_id:   {heading: 订单编号, aliases: [订单号], required: true, filled: true}
          member_no:  {heading: 会员号, private: true}
          mobile:     {heading: 联系手机}                  # private by itself: `contacts` names it
          ordered_at: {heading: 下单时间, type: time, filled: true}
          paid_at:    {heading: 付款时间, type: time}
          amount:     {heading: 总金额, type: money, filled: true}
          refunded:   {heading: 退款金额, type: money}
          channel:    {heading: 渠道, values: {天猫: tmall, 门店: store}}     # any other word is a reject
        reject_when:
          - {rule: "amount < 0", reason: the amount of an order is negative}
        tables:
          orders:
            effective_at: coalesce(paid_at, ordered_at)  # since when this holds; default: latest time
            columns:
              order_id: order_id
              member_id: account(member_no)
              channel: channel
              ordered_at: ordered_at
              paid_at: paid_at
              gross_amount: amount
              discount_amount: 0
              shipping_amount: 0
              net_amount: amount
          shop_refunds:                                   # any name; `table` says which table it fills
            table: refunds
            when: refunded > 0
            columns:
              refund_id: concat('R', order_id)
              order_id: order_id
              member_id: account(member_no)
              refunded_at: paid_at
              date_assumed: true
              amount: refunded
              kind: "'refund'"                            # a text literal is quoted twice: once for YAML
        contacts:
          - {account: member_no, seen_at: ordered_at, phone: mobile}
        balance:
          - {name: net amount, rows: amount, written: {orders: net_amount}}
      lines:
        match: ["订单明细*.csv"]
        repeated_rows: keep
        fields:
          order_id:   {heading: 订单编号, required: true, filled: true}
          ordered_at: {heading: 下单时间, type: time, filled: true}
          sku:        {heading: 商家编码, filled: true}
          quantity:   {heading: 数量, type: integer, filled: true}
          unit_price: {heading: 单价, type: price, filled: true}
        reject_when:
          - {rule: quantity < 0, reason: a negative quantity that is no refund}
        tables:
          order_lines:
            columns:
              order_id: order_id
              line_no: number_of(sku, quantity, unit_price, number_within(order_id, sku, quantity, unit_price))
              ordered_at: ordered_at
              product_id: sku
              quantity: quantity
              unit_price: unit_price
              line_amount: round(quantity * unit_price, 2)
"""

from __future__ import annotations

from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from crm_core.config.databases import DatabaseSettings, ExtractSettings
from crm_core.config.loader import Settings

EPOCHS = ("epoch_s", "epoch_ms")
FieldType = Literal["text", "email", "phone", "integer", "number", "money", "price", "time", "date", "flag"]
Expression = str | int | float | bool


def pattern_fault(pattern: str) -> str:
    """What is wrong with a pattern for the engines (RE2: neither look-around nor back-references); '' if nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("Invalid regular expression: ")
    return ""


class ReaderSettings(Settings):
    """How the bytes of a file become rows of text."""

    format: Literal["auto", "csv", "jsonl", "parquet", "xlsx"] = Field("auto", description="auto: by what the file holds")
    headings: tuple[str, ...] = Field((), description="columns in order, for files (CSV, XLSX) without a row of headings")
    short_rows: Literal["reject", "fill"] = Field(
        "reject", description="rows with fewer cells than headings: refused, or filled with empty cells at their end"
    )
    encoding: Literal["auto", "utf-8", "gb18030", "utf-16", "cp1252"] = Field(
        "auto", description="auto: byte order mark, else UTF-8 if the whole file is, else GB18030"
    )
    delimiter: Literal["auto", ",", ";", "\t", "|"] = Field("auto", description="auto: the one that finds most headings")
    nulls: tuple[str, ...] = Field(("", "NULL"), description="cells that say nothing, compared after trimming blanks")
    sheet: str = Field("", description="sheet of a workbook; empty: the first")
    skip_lines: int = Field(0, ge=0, description="lines above the headings, or above the first row")


class FieldSettings(Settings):
    """One typed field of a row, read from one heading."""

    heading: str = Field(min_length=1)
    aliases: tuple[str, ...] = Field((), description="other spellings of the heading, tried in this order")
    type: FieldType = Field(
        "text",
        description="money has two decimals, price six; number floats; time is an instant; flag yes or no; email and phone are "
        "text in one spelling, for those that serve as account ids",
    )
    formats: tuple[str, ...] = Field(
        (), description="strptime formats, or epoch_s or epoch_ms alone; default: 2026-10-31 08:26:00, 2026/10/31 8:26, ISO 8601"
    )
    strip: str = Field("", description="pattern of what is taken off a cell, everywhere it fits, before it is read")
    required: bool = Field(False, description="the heading must be in the file")
    filled: bool = Field(False, description="every row must have a value; implies required")
    values: dict[str, str | None] = Field({}, description="the shop's word → ours; any other word is a reject")
    private: bool = Field(False, description="never shown: masked in rejects and errors")
    future: bool = Field(False, description="a time that may lie ahead (an expiry, a due date)")

    @model_validator(mode="after")
    def _fits(self) -> FieldSettings:
        if self.formats and self.type not in ("time", "date"):
            raise ValueError(f"formats belong to type time or date, not {self.type}")
        if self.values and self.type != "text":
            raise ValueError(f"values belong to type text, not {self.type}")
        if zoned := [form for form in self.formats if "%z" in form or "%Z" in form]:
            raise ValueError(
                f"formats cannot have a zone, as '{zoned[0]}' has; times such as 2026-10-31 08:26:00 +0800 are read without formats"
            )
        epoch = next((form for form in self.formats if form in EPOCHS), "")
        if epoch and (self.type != "time" or len(self.formats) > 1):
            raise ValueError(f"{epoch} stands alone and belongs to type time")
        return self

    @field_validator("strip")
    @classmethod
    def _pattern_is_one(cls, value: str) -> str:
        if value and (fault := pattern_fault(value)):
            raise ValueError(f"'{value}' is no pattern (RE2): {fault}")
        return value

    @property
    def epoch(self) -> str:
        """'epoch_s', 'epoch_ms', or '' for times that are written as dates."""
        return self.formats[0] if self.formats and self.formats[0] in EPOCHS else ""

    @property
    def headings(self) -> tuple[str, ...]:
        """Every spelling that is taken for this field, the preferred one first."""
        return (self.heading, *self.aliases)


class CarrySettings(Settings):
    """Cells that a file writes only in the first row of a group: later rows that leave them empty take the group's
    first filled value above them, before anything is checked.
    """

    by: tuple[str, ...] = Field(min_length=1, description="fields that make the group; a row that lacks one is alone")
    fields: tuple[str, ...] = Field(min_length=1, description="fields whose empty cells are filled")


class RowRule(Settings):
    """Rows for which `rule` is true are refused for `reason`."""

    rule: str
    reason: str = Field(min_length=1)


class TableSettings(Settings):
    """What rows of a feed become in one table of the lake."""

    table: str = Field("", description="canonical table; default: the name of this entry")
    when: str = Field("", description="which rows; default: all")
    per: tuple[str, ...] = Field((), description="grain: rows of one file that agree in these make one row")
    effective_at: str = Field("", description="the source's own time of this state; default: latest time of the row")
    columns: dict[str, Expression] = Field(min_length=1)


class ContactSettings(Settings):
    """Contact data in a row; goes to the vault only. Values are names of fields."""

    account: str = Field(description="field with the account id; rows without one are passed over")
    seen_at: str = Field(description="expression: when the source recorded the contact")
    phone: str = ""
    email: str = ""
    name: str = ""
    given_name: str = ""
    family_name: str = ""
    birth_date: str = ""
    address: str = ""
    city: str = ""
    postcode: str = ""
    union_id: str = ""
    platform_account: str = ""
    member_card: str = ""

    def kinds(self) -> dict[str, str]:
        """Kind of contact → field, for those that are given."""
        named = self.model_dump(exclude={"account", "seen_at"})
        return {kind: field for kind, field in named.items() if field}


class BalanceSettings(Settings):
    """A sum over accepted rows that must come back as the sum of what is written, to the cent."""

    name: str
    rows: str = Field(
        description="expression over the fields of one row; `x if number_within(order) == 1 else 0` counts a total once"
    )
    written: dict[str, str] = Field(min_length=1, description="entry of `tables` → expression over its columns")


class FeedSettings(Settings):
    """One kind of file of a source."""

    match: tuple[str, ...] = Field((), description="file name patterns, used where a folder is given")
    extract: ExtractSettings | None = Field(None, description="what of the source's database this feed is")
    reader: ReaderSettings = ReaderSettings()
    repeated_rows: Literal["duplicate", "keep"] = Field(
        "duplicate", description="identical rows of one file: known duplicates, or rows in their own right"
    )
    fields: dict[str, FieldSettings] = Field(min_length=1)
    carry: CarrySettings | None = None
    reject_when: tuple[RowRule, ...] = ()
    tables: dict[str, TableSettings] = Field({})
    contacts: tuple[ContactSettings, ...] = ()
    balance: tuple[BalanceSettings, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> FeedSettings:
        for place, name in enumerate(self.fields):
            if not name.isidentifier() or name.startswith("_"):
                raise ValueError(f"field name '{name}' must be letters, digits and _ and not begin with a digit or _")
            if alike := [other for other in list(self.fields)[:place] if other.lower() == name.lower()]:
                raise ValueError(f"fields '{alike[0]}' and '{name}' differ by capitals alone; give each a name of its own")
        for name in (*self.carry.by, *self.carry.fields) if self.carry else ():
            if name not in self.fields:
                raise ValueError(f"carry names the field '{name}', which `fields` lacks")
        if self.carry and self.repeated_rows == "duplicate":
            raise ValueError("carry makes rows of a group alike; add `repeated_rows: keep`, or they pass for duplicates")
        for contact in self.contacts:
            for name in (contact.account, *contact.kinds().values()):
                if name not in self.fields:
                    raise ValueError(f"contacts name the field '{name}', which `fields` lacks")
        for place, entry in enumerate(self.balance):
            if entry.name in [other.name for other in self.balance[:place]]:
                raise ValueError(f"two balances are called '{entry.name}'; give each its own name")
            for name in entry.written:
                if name not in self.tables:
                    raise ValueError(f"balance '{entry.name}' names '{name}', which `tables` lacks")
        return self


class InboxSettings(Settings):
    """How the source's folder of the inbox is emptied."""

    match: tuple[str, ...] = Field(("*",), min_length=1, description="names that are looked at")
    settle_seconds: float = Field(
        2.0, ge=0, le=3600, description="a file that was written to within these seconds is looked at again after them"
    )
    after: Literal["delete", "leave"] = Field(
        "delete", description="what becomes of a file that is in the lake whole; left ones are known by their hash"
    )


class SourceSettings(Settings):
    """One source of data: a shop, a till, a member system."""

    source: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: dict[Literal["en", "zh"], str] = Field({})
    time_zone: str = Field("", description="IANA zone of times without an offset; default: the project's")
    currency: str = Field("", description="ISO 4217; default: the project's", pattern=r"^([A-Z]{3})?$")
    money_unit: Literal["yuan", "fen"] = Field("yuan", description="fen: money and price fields are hundredths")
    ids: Literal["hmac", "plain"] = "hmac"
    namespace: str = Field("", description="whose account ids they are; default: the source")
    country: str = Field("", description="region of phones without a country code; default: the project's")
    backdate: bool = False
    inbox: InboxSettings = InboxSettings()
    database: DatabaseSettings | None = Field(None, description="where feeds with `extract` are read from")
    feeds: dict[str, FeedSettings] = Field(min_length=1)

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            _ = ZoneInfo(value) if value else None
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"'{value}' is not an IANA time zone; write one like 'Asia/Shanghai'") from None
        return value

    @model_validator(mode="after")
    def _extracts_have_a_database(self) -> SourceSettings:
        read = [name for name, feed in self.feeds.items() if feed.extract]
        if read and self.database is None:
            raise ValueError(f"feed '{read[0]}' has `extract`, but the source no `database`; add database: {{url_env: …}}")
        if self.database is not None and not read:
            raise ValueError("`database` is given, but no feed has `extract`; say what of it to read")
        return self

    @property
    def accounts_of(self) -> str:
        """The namespace that account ids of this source belong to."""
        return self.namespace or self.source
