"""Each operator of the expression language agrees with pandas on random data with nulls."""

from __future__ import annotations

import ibis
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.schema.expressions import compile_expression
from tests.conftest import few
from tests.pandas_rules import evaluate, typed

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.none() | st.integers(-3, 3),
            "b": st.none() | st.integers(-3, 3),
            "x": st.none() | st.integers(-8, 8).map(lambda n: n / 4),
            "p": st.none() | st.booleans(),
            "q": st.none() | st.booleans(),
            "t": st.none() | st.sampled_from(["", "金", "g"]),
        }
    ),
    min_size=1, max_size=40,
)  # fmt: skip
TYPES = pa.schema(
    [("a", pa.int64()), ("b", pa.int64()), ("x", pa.float64()), ("p", pa.bool_()), ("q", pa.bool_()), ("t", pa.string())]
)
OPERATORS = [
    *(f"a {sign} {other}" for sign in ("<", "<=", "==", "!=", ">=", ">") for other in ("b", "x", "1", "-0.5")),
    *(f"t {sign} {other}" for sign in ("==", "!=") for other in ("'g'", "''")),
    "a in [1, 2, -3]", "a not in [0]", "t in ['金', 'x']", "t not in ['']", "-1 <= a < b", "between(a, b, 2)",
    "between(x, -1, 0.75)", "p and q", "p or q", "not p", "not (p and q)", "p and not q or is_null(p)",
    "a + b", "a - x", "a * b", "a / b", "x / a", "-x", "a + b * x - 1", "abs(x)", "coalesce(a, b, 0)", "coalesce(x, a)",
    "is_null(t)", "not_null(a)", "a if p else b", "(a if p and a > b else 0) == 0", "p == q", "p != q",
    "a > 0 and (t == 'g' or x < 1) and not is_null(b)",
]  # fmt: skip


@settings(max_examples=few(12))
@given(ROWS)
def test_every_operator_agrees_with_pandas_whatever_is_unknown(rows):
    content = pa.Table.from_pylist(rows, TYPES)
    table = ibis.memtable(content)
    answers = table.select(**{text: compile_expression(text, table, where="x") for text in OPERATORS}).to_pyarrow()
    frame = typed(pd.DataFrame(rows, columns=TYPES.names)).astype(
        {"a": "Int64", "b": "Int64", "x": "Float64", "p": "boolean", "q": "boolean", "t": "string"}
    )
    for text in OPERATORS:
        expected = [None if pd.isna(value) else value for value in evaluate(text, frame)]
        found = answers[text].to_pylist()
        assert [value is None for value in found] == [value is None for value in expected], text
        assert [v for v in found if v is not None] == pytest.approx([v for v in expected if v is not None]), text
