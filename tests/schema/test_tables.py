"""The canonical tables as data: keys, times, vocabularies, rules and the Markdown made from them."""

from __future__ import annotations

from collections.abc import Iterator

import ibis
import pytest

from crm_core.schema import LOAD, TABLES, TableSchema, empty, markdown
from crm_core.schema import vocabulary as words
from crm_core.schema.expressions import names_in
from crm_core.store.vault import tables as vault

CONTRACT = [
    "members", "orders", "order_lines", "refunds", "products", "interactions", "campaigns", "consents",
    "identities", "opportunities", "contract_payments", "audiences",
]  # fmt: skip


@pytest.fixture(params=[*TABLES, "accounts", "contacts", "suppressions"])
def schema(request: pytest.FixtureRequest) -> Iterator[TableSchema]:
    yield TABLES.get(request.param) or getattr(vault, request.param.upper())


def test_every_table_of_the_contract_is_there() -> None:
    assert list(TABLES) == CONTRACT
    assert all(name == table.name for name, table in TABLES.items())


def test_key_columns_exist_and_are_never_empty(schema: TableSchema) -> None:
    assert schema.key
    assert all(not schema.column(name).nullable for name in schema.key)


def test_columns_are_named_once_typed_and_explained(schema: TableSchema) -> None:
    assert len(set(schema.names)) == len(schema.names)
    assert all(column.meaning for column in schema.columns)
    assert len(ibis.schema(schema.types())) == len(schema.columns)
    with pytest.raises(KeyError):
        schema.column("nonsense")


def test_every_time_is_a_utc_timestamp_and_named_so(schema: TableSchema) -> None:
    for column in schema.columns:
        moment = column.type.startswith("timestamp")
        assert moment == column.name.endswith("_at"), column.name
        assert not moment or (column.type == "timestamp(6)" and column.unit == "UTC"), column.name


def test_money_is_decimal_with_its_currency_beside_it(schema: TableSchema) -> None:
    for column in schema.columns:
        if column.name.endswith(("_amount", "_price", "_cost")) or column.name in ("amount", "budget"):
            assert column.type in ("decimal(18, 2)", "decimal(18, 6)") and column.unit == "currency", column.name


@pytest.mark.parametrize("name", CONTRACT)
def test_every_canonical_table_ends_with_the_columns_of_the_load(name: str) -> None:
    assert TABLES[name].columns[-2:] == LOAD
    assert [column.name for column in LOAD] == ["load_id", "recorded_at"]


@pytest.mark.parametrize("name", CONTRACT)
def test_columns_that_a_schema_refers_to_exist(name: str) -> None:
    schema = TABLES[name]
    for rule in schema.rules:
        assert names_in(rule.expression) <= set(schema.names), rule.name
    for column in schema.columns:
        assert not column.seen_with or schema.column(column.seen_with).type == "timestamp(6)"
    assert (schema.as_of == "versions") != bool(schema.exists_at)
    for name_ in filter(None, (schema.exists_at, schema.month_of)):
        assert not schema.column(name_).nullable, "a row without it would be seen by nobody"


def test_vocabularies_have_no_word_twice() -> None:
    lists = (words.EVENT, words.CHANNEL, words.GENDER, words.ORDER_STATUS, words.STAGE, words.ID_KIND)
    assert all(len(set(known)) == len(known) for known in lists)
    assert len(words.CHANNEL) == 22 and len(words.EVENT) == 36


def test_an_empty_table_has_the_schema_s_columns_and_types(schema: TableSchema) -> None:
    table = empty(schema)
    assert table.schema() == ibis.schema(schema.types())
    assert table.to_pyarrow().num_rows == 0


def test_a_table_is_described_in_markdown_for_the_readme(schema: TableSchema) -> None:
    lines = markdown(schema).splitlines()
    assert lines[0] == f"### {schema.name}"
    assert schema.grain in lines[2] and all(f"`{name}`" in lines[2] for name in schema.key)
    rows = [line for line in lines if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(schema.names)
    assert all(row.replace("\\|", "").count("|") == 6 for row in rows)
    assert all(word in markdown(schema) for column in schema.columns for word in column.vocabulary)
    assert all(rule.name in markdown(schema) for rule in schema.rules)
