"""What the vault keeps: accounts, contacts and refused rows per load, and the refusals."""

from __future__ import annotations

from crm_core.schema import Column, TableSchema

ACCOUNTS = TableSchema(
    "accounts",
    "one row per account and load",
    ("member_id", "namespace", "account_id", "load_id"),
    (
        Column("member_id", "string", "pseudonymous member", nullable=False),
        Column("namespace", "string", "account namespace of the source", nullable=False),
        Column("account_id", "string", "the account's own id", nullable=False),
        Column("load_id", "string", "load", nullable=False),
    ),
)
CONTACTS = TableSchema(
    "contacts",
    "one row per member, kind, value and load",
    ("member_id", "kind", "value", "load_id"),
    (
        Column("member_id", "string", "pseudonymous member", nullable=False),
        Column("kind", "string", "phone, email, name, address …", nullable=False),
        Column("value", "string", "normalised: E.164 for phones, lower case for e-mail", nullable=False),
        Column("valid", "boolean", "whether a message can be sent there", nullable=False),
        Column("problem", "string", "why it is not valid"),
        Column("seen_at", "timestamp(6)", "when the source stated it last", "UTC"),
        Column("first_seen_at", "timestamp(6)", "when the source stated it first", "UTC"),
        Column("load_id", "string", "load", nullable=False),
    ),
)
SUPPRESSIONS = TableSchema(
    "suppressions",
    "one row per refusal",
    ("kind", "value_hmac", "added_at"),
    (
        Column("kind", "string", "phone or email", nullable=False),
        Column("value_hmac", "string", "keyed HMAC of the normalised contact", nullable=False),
        Column("reason", "string", "why", nullable=False),
        Column("source", "string", "where the refusal came from", nullable=False),
        Column("added_at", "timestamp(6)", "when", "UTC", nullable=False),
    ),
)
REFUSED = TableSchema(
    "refused",
    "one row per refused input row, unmasked, to be mended",
    ("load_id", "file", "row_number"),
    (
        Column("load_id", "string", "load", nullable=False),
        Column("feed", "string", "feed of the source", nullable=False),
        Column("file", "string", "file name", nullable=False),
        Column("row_number", "int64", "row as the lake's rejects number it", nullable=False),
        Column("field", "string", "field at fault"),
        Column("reason", "string", "what was found and what is allowed", nullable=False),
        Column("headings", "array<string>", "headings of the file, in order", nullable=False),
        Column("cells", "array<string>", "the row's cells as they were read, in order; null for a malformed line"),
        Column("text", "string", "a malformed line as it stands in the file"),
    ),
)
PER_LOAD = {table.name: table for table in (ACCOUNTS, CONTACTS, REFUSED)}
