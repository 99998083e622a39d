"""The expression language once more, in pandas alone: what the engine's answers are compared with.

Written from the language's description and not from its compiler: pandas' nullable types give three-valued logic, and
events are counted on plain frames.
"""

from __future__ import annotations

import ast
import hashlib
import operator
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import pandas as pd

COMPARE = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with pandas' nullable types; decimals as floats."""
    found = frame.copy()
    for name in found:
        if found[name].dtype == object and not found[name].dropna().map(lambda v: isinstance(v, (str, bool))).all():
            found[name] = found[name].map(lambda v: None if v is None else float(v)).astype("Float64")
    return found.convert_dtypes(convert_floating=False).astype(
        {name: "Float64" for name in found if str(found[name].dtype) == "float64"}
    )


def evaluate(text: str, frame: pd.DataFrame, functions: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """`text` over the rows of `frame` (from `typed`); `functions` are called with plain arguments."""
    return _Walker(frame, functions or {}).of(ast.parse(text, mode="eval").body)


def holds(text: str, frame: pd.DataFrame, functions: Mapping[str, Callable[..., Any]] | None = None) -> set[str]:
    """The member_ids for which the condition holds; unknown is no."""
    answer = evaluate(text, frame, functions)
    return set(frame.member_id[answer.fillna(False).astype(bool)])


def behaviour(frame: pd.DataFrame, events: pd.DataFrame, day: date) -> dict[str, Callable[..., Any]]:
    """times, did, did_not and bucket over `events` (member_id, event, day: the local day), as of `day`."""

    def times(event: str, days: int | None = None) -> Any:
        chosen = events[(events.event == event) & (events.day <= day)]
        if days:
            chosen = chosen[chosen.day > day - timedelta(days=days)]
        return frame.member_id.map(chosen.groupby("member_id").size()).fillna(0).astype("Int64")

    def bucket(salt: str, buckets: int) -> Any:
        def place(member_id: str) -> int:
            return int(hashlib.md5(f"{salt}\x1f{member_id}".encode()).hexdigest()[:7], 16) % buckets

        return pd.Series([place(one) for one in frame.member_id], frame.index, dtype="Int64")

    return {
        "times": times, "did": lambda event, least=1, days=None: times(event, days) >= least,
        "did_not": lambda event, days=None: times(event, days) == 0, "bucket": bucket,
    }  # fmt: skip


class _Walker:
    def __init__(self, frame: pd.DataFrame, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.frame, self.functions = frame, functions

    def of(self, node: ast.expr) -> Any:
        return getattr(self, type(node).__name__.lower())(node)

    def name(self, node: ast.Name) -> Any:
        return self.frame[node.id]

    def constant(self, node: ast.Constant) -> Any:
        kinds = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}
        return pd.Series([node.value] * len(self.frame), self.frame.index, dtype=kinds[type(node.value)])

    def boolop(self, node: ast.BoolOp) -> Any:
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        first, *rest = [self.of(part).astype("boolean") for part in node.values]
        for part in rest:
            first = join(first, part)
        return first

    def unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.of(node.operand)
        return ~value.astype("boolean") if isinstance(node.op, ast.Not) else -value

    def binop(self, node: ast.BinOp) -> Any:
        left, right = self.of(node.left), self.of(node.right)
        if isinstance(node.op, ast.Div):
            left, right = left.astype("Float64"), right.astype("Float64")
            return left / right.mask((right == 0).fillna(False))
        return {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}[type(node.op)](left, right)

    def compare(self, node: ast.Compare) -> Any:
        result, left = None, node.left
        for kind, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(kind, (ast.In, ast.NotIn)):
                value = self.of(left)
                listed = [ast.literal_eval(item) for item in right.elts]
                link = value.isin(listed).astype("boolean").mask(value.isna())
                link = ~link if isinstance(kind, ast.NotIn) else link
            else:
                link = COMPARE[type(kind)](self.of(left), self.of(right)).astype("boolean")
            result, left = link if result is None else result & link, right
        return result

    def ifexp(self, node: ast.IfExp) -> Any:
        test = self.of(node.test).astype("boolean").fillna(False)
        return self.of(node.body).where(test, self.of(node.orelse))

    def call(self, node: ast.Call) -> Any:
        name = node.func.id
        if name in self.functions:
            return self.functions[name](*(argument.value for argument in node.args))
        first, *rest = [self.of(argument) for argument in node.args]
        if name == "between":
            return ((first >= rest[0]) & (first <= rest[1])).astype("boolean")
        if name == "coalesce":
            for each in rest:
                first = first.fillna(each)
            return first
        known = {"is_null": first.isna, "not_null": first.notna, "abs": lambda: first.abs()}
        return known[name]() if name == "abs" else known[name]().astype("boolean")
