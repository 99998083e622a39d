"""The expression language: what it means, what it refuses and how it says so."""

from __future__ import annotations

import datetime
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.errors import InputError, UnknownName
from crm_core.schema.expressions import clauses, compile_expression, condition, names_in

D = Decimal


@pytest.fixture(scope="module")
def table():
    return ibis.memtable(
        pa.table(
            {
                "tier": ["gold", None, "银卡"],
                "orders": pa.array([3, None, 0], pa.int64()),
                "share": [0.5, None, 0.25],
                "net_amount": pa.array([D("12.34"), None, D("-1.00")], pa.decimal128(18, 2)),
                "unit_price": pa.array([D("0.001000"), None, D("2.000000")], pa.decimal128(18, 6)),
                "paid_at": pa.array([datetime.datetime(2026, 1, 31, 18), None, None], pa.timestamp("us")),
                "活跃": [True, None, False],
                "客户 ID": ["7", None, " 8.50 "],
            }
        )
    )


def values(table, text, **more):
    return table.select(z=compile_expression(text, table, where="rules.yml line 3", **more)).to_pyarrow()["z"].to_pylist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders > 1 and tier == 'gold'", [True, None, False]),
        ("orders > 1 or is_null(tier)", [True, True, False]),
        ("not 活跃", [False, None, True]),
        ("0 <= orders < 3", [False, None, True]),
        ("tier in ['gold', '银卡']", [True, None, True]),
        ("tier not in ['gold']", [False, None, True]),
        ("orders not in [0, 7]", [True, None, False]),
        ("'many' if orders >= 3 else 'few'", ["many", "few", "few"]),
        ("1 if orders >= 3 else None", [1, None, None]),
        ("orders / (orders - 3)", [None, None, 0.0]),
        ("orders * 2 - -1", [7, None, 1]),
        ("net_amount + 0.5", [D("12.84"), None, D("-0.50")]),
        ("net_amount * 2", [D("24.68"), None, D("-2.00")]),
        ("net_amount * unit_price", [D("0.01234000"), None, D("-2.00000000")]),
        ("round(orders * unit_price, 2)", [D("0.00"), None, D("0.00")]),
        ("net_amount / 2", [6.17, None, -0.5]),
        ("net_amount == 12.34", [True, None, False]),
        ("coalesce(net_amount, 0)", [D("12.34"), D("0.00"), D("-1.00")]),
        ("between(net_amount, -1, 12.339)", [False, None, True]),
        ("number(column('客户 ID'))", [D("7.000000"), None, D("8.500000")]),
        ("number(tier)", [None, None, None]),
        ("concat(tier, '-', orders)", ["gold-3", None, "银卡-0"]),
        ("matches(tier, '^g.*d$')", [True, None, False]),
        ("starts_with(upper(tier), 'G')", [True, None, False]),
        ("ends_with(tier, '卡') and contains(tier, '银')", [False, None, True]),
        ("length(strip(column('客户 ID')))", [1, None, 4]),
        ("abs(net_amount)", [D("12.34"), None, D("1.00")]),
        ("text(orders)", ["3", None, "0"]),
        ("paid_at >= '2026-01-31'", [True, None, None]),
        ("paid_at <= '2026-01-31'", [True, None, None]),
        ("paid_at == '2026-01-31'", [True, None, None]),
        ("paid_at < date('2026-02-01')", [True, None, None]),
        ("days_between(date('2026-01-01'), paid_at)", [30, None, None]),
        ("orders > 1\nand tier == 'gold'  # the good ones", [True, None, False]),
        ("not_null(paid_at)", [True, False, False]),
    ],
)
def test_expressions_mean_what_python_would_mean_by_them_with_nulls_as_in_sql(table, text, expected):
    assert values(table, text) == expected


def test_a_condition_counts_unknown_as_no_also_under_not(table):
    answer = table.select(z=condition("not tier == 'gold'", table, where="x"))
    assert answer.to_pyarrow()["z"].to_pylist() == [False, False, True]


def test_a_condition_that_gives_no_yes_or_no_is_refused(table):
    with pytest.raises(InputError, match="must give yes or no"):
        condition("orders + 1", table, where="segments.yml line 4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net_amont > 1", r"rules.yml line 3 .*character 1 .*did you mean 'net_amount'"),
        ("tier == 'gold' and odrers > 1", "character 20"),
        ("活跃 and 活耀", "character 8 "),
        ("lenght(tier)", "function 'lenght' is not known.*did you mean 'length'"),
        ("tier == None", "is_null"),
        ("tier is None", "is_null"),
        ("tier > 3", "a number and text cannot be compared"),
        ("orders + tier", "arithmetic needs numbers, found text"),
        ("orders and tier", "need yes or no, found a number"),
        ("tier in 'gold'", "a list"),
        ("tier in []", "a list"),
        ("orders in [None, 1]", "is_null"),
        ("paid_at > '31.01.2026'", "is no date; write it as"),
        ("matches(tier, '(')", "is no pattern"),
        ("matches(tier, '(?<=金)卡')", "is no pattern: Invalid regular expression"),
        ("matches(tier, tier)", "must be written out"),
        ("round(orders, orders)", "must be written out"),
        ("between(orders, 1)", "takes 3"),
        ("orders ** 2", r"knows \+ - \* / only"),
        ("~活跃", "use 'not'"),
        ("__import__('os').system('true')", "only functions can be called"),
        ("tier.lower()", "only functions"),
        ("tier.op", "Attribute is not part"),
        ("tier[0]", "Subscript is not part"),
        ("[x for x in 'ab']", "ListComp is not part"),
        ("lambda: 1", "Lambda is not part"),
        ("(y := 1)", "NamedExpr is not part"),
        ("f'{tier}'", "JoinedStr is not part"),
        ("concat(*tier)", "plain arguments"),
        ("round(orders, n=1)", "plain arguments"),
        ("orders >", "cannot be read"),
        ("", "an expression is needed"),
        ("1e999", "too large"),
        ("b'x' == tier", "a literal must be"),
        (str(2**63), "too large"),
        ("not " * 900 + "活跃", "nested too deeply|cannot be read"),
        ("(" * 500 + "1" + ")" * 500, "cannot be read"),
        ("1 + " * 2000 + "1", "characters, allowed are"),
    ],
)
def test_what_is_not_in_the_language_is_refused_with_place_and_advice(table, text, message):
    with pytest.raises(InputError, match=message) as caught:
        compile_expression(text, table, where="rules.yml line 3")
    assert str(caught.value).startswith(("rules.yml line 3", "column", "function"))


def test_an_unknown_column_is_an_unknown_name(table):
    with pytest.raises(UnknownName, match="known: "):
        compile_expression("nothing == 1", table, where="x")


def test_functions_of_the_caller_get_plain_literals_and_expressions(table):
    def padded(value, width):
        assert isinstance(width, int)
        return value.cast("string").lpad(width, "0")

    assert values(table, "padded(orders, 3)", functions={"padded": padded}) == ["003", None, "000"]


def test_an_error_of_the_engine_library_is_told_in_terms_of_the_text(table):
    def broken(value):
        raise TypeError("no such thing")

    with pytest.raises(InputError, match=r"rules.yml line 3: 'broken.orders.' cannot be worked out: no such thing"):
        values(table, "broken(orders)", functions={"broken": broken})


def test_columns_are_found_after_nfkc_as_python_normalises_names():
    table = ibis.memtable({"ＶＩＰ": [1]})
    assert values(table, "VIP + 1") == [2]


def test_names_in_lists_columns_and_not_functions():
    assert names_in("length(tier) > 1 and (orders if 活跃 else column('客户 ID'))") == {"tier", "orders", "活跃", "客户 ID"}


def test_clauses_splits_at_the_outermost_and_or_or():
    assert clauses("a > 1 and (b or c) and not d") == ["a > 1", "b or c", "not d"]
    assert clauses("a\nor b and c") == ["a", "b and c"]
    assert clauses("a > 1") == ["a > 1"]


def test_the_table_is_not_touched(table):
    before = table.schema()
    values(table, "orders + 1")
    assert table.schema() == before


class Cell:
    """Kleene logic over (True, False, None), to compare the engine with."""

    @staticmethod
    def conj(a, b):
        return False if a is False or b is False else None if a is None or b is None else True

    @staticmethod
    def inv(a):
        return None if a is None else not a


LEAVES = st.sampled_from(["p", "q", "r", "True", "False"])
LOGIC = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(inner, inner).map(lambda two: f"({two[0]} and {two[1]})")
        | st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})")
        | inner.map(lambda one: f"(not {one})")
    ),
    max_leaves=8,
)


def kleene(text, row):
    import ast

    def walk(node):
        if isinstance(node, ast.Name):
            return row[node.id]
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp):
            return Cell.inv(walk(node.operand))
        parts = [walk(part) for part in node.values]
        if isinstance(node.op, ast.Or):
            return Cell.inv(Cell.conj(*(Cell.inv(part) for part in parts)))
        return Cell.conj(*parts)

    return walk(ast.parse(text, mode="eval").body)


@settings(max_examples=25, deadline=None)
@given(LOGIC)
def test_any_logic_is_three_valued_like_sql(text):
    rows = [{"p": p, "q": q, "r": r} for p in (True, False, None) for q in (True, None) for r in (False, None)]
    table = ibis.memtable(pa.Table.from_pylist(rows, pa.schema([(name, pa.bool_()) for name in "pqr"])))
    assert values(table, text) == [kleene(text, row) for row in rows]


@settings(max_examples=25, deadline=None)
@given(
    st.decimals(-99999, 99999, places=2),
    st.decimals(-999, 999, places=3),
    st.integers(-1000, 1000),
    st.sampled_from(["{a} + {b}", "{a} - {b} * {n}", "{a} * {b}", "({a} + {n}) * {b}", "-{a} + {n}"]),
)
def test_decimal_arithmetic_is_exact_whether_numbers_are_columns_or_written(a, b, n, shape):
    table = ibis.memtable(
        pa.table(
            {"a": pa.array([a], pa.decimal128(18, 2)), "b": pa.array([b], pa.decimal128(18, 6)), "n": pa.array([n], pa.int64())}
        )
    )
    exact = eval(shape.format(a="a", b="b", n="n"), {}, {"a": a, "b": b, "n": n})  # Python's own decimals
    assert values(table, shape.format(a="a", b="b", n="n")) == [exact]
    assert values(table, shape.format(a="a", b=f"({b})", n=f"({n})")) == [exact]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_compiles_or_is_refused_by_name_never_otherwise(text):
    table = ibis.memtable({"a": [1], "b": ["x"]})
    try:
        compile_expression(text, table, where="here")
    except InputError as error:
        assert "here" in str(error)
