"""What the expression language can call, and how numbers meet: decimal beside decimal, float beside float.

Each function gets the compiler and its arguments as syntax nodes, because some must be literals (a pattern, a
number of digits) and are checked before anything is built. Only `schema.expressions` imports it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from crm_core.schema.expressions import Compiler

MANY = 99


def kind_of(value: ir.Value) -> str:
    """The kind of a value in the words of error messages."""
    kind = value.type()
    if kind.is_boolean():
        return "yes or no"
    if kind.is_numeric():
        return "a number"
    if kind.is_string():
        return "text"
    return "a date" if kind.is_temporal() else str(kind)


def _decimal_literal(value: ir.Value) -> Any:
    """A number written in the text as a decimal with its own digits: 99.5 beside money is exactly 99.5."""
    number = Decimal(str(value.op().value))
    scale = min(max(0, -int(number.as_tuple().exponent)), 18)
    precision = 18 if number.adjusted() + 1 + scale <= 18 else 38
    return ibis.literal(number, type=dt.Decimal(precision, scale))


def alike_numbers(values: list[Any]) -> list[Any]:
    """Beside a decimal, written numbers become decimals; beside a float column, decimals become floats."""
    if not any(value.type().is_decimal() for value in values):
        return values
    if any(value.type().is_floating() and not isinstance(value.op(), ops.Literal) for value in values):
        return [value.cast("float64") if value.type().is_decimal() else value for value in values]
    written = [isinstance(value.op(), ops.Literal) and not value.type().is_null() for value in values]
    return [_decimal_literal(v) if literal else v for v, literal in zip(values, written, strict=True)]


def product(left: Any, right: Any) -> ir.Value:
    """left × right; exact where one is decimal: ibis states too small a scale for decimal × decimal."""
    left, right = alike_numbers([left, right])
    if not (left.type().is_decimal() or right.type().is_decimal()):
        return left * right
    scales = [value.type().scale or 0 if value.type().is_decimal() else 0 for value in (left, right)]
    one, two = (value.cast(dt.Decimal(18, scale)) for value, scale in zip((left, right), scales, strict=True))
    return (one * two).cast(dt.Decimal(38, sum(scales)))


Build = Callable[["Compiler", list[ast.expr]], Any]


def _between(c: Compiler, args: list[ast.expr]) -> Any:
    return c.compare(args[0], ast.GtE(), args[1]) & c.compare(args[0], ast.LtE(), args[2])


def _matches(c: Compiler, args: list[ast.expr]) -> Any:
    pattern = c.constant(args[1], str, "the pattern")
    try:
        re.compile(pattern)
        # RE2, as the engine has it: no look-around, no back-references
        pc.match_substring_regex(pa.array([""]), pattern)
    except (re.error, pa.ArrowInvalid) as error:
        c.fail(args[1], f"'{pattern}' is no pattern: {error}")
    return c.text_of(args[0]).re_search(pattern)


def _round(c: Compiler, args: list[ast.expr]) -> Any:
    digits = c.constant(args[1], int, "the number of digits") if len(args) > 1 else 0
    return c.number(args[0]).round(digits)


def _read_number(c: Compiler, args: list[ast.expr]) -> Any:
    value: Any = c.value(args[0])
    if value.type().is_numeric():
        return value
    return c.text_of(args[0]).strip().try_cast(dt.Decimal(18, 6))


def _concat(c: Compiler, args: list[ast.expr]) -> Any:
    first, *rest = [c.value(argument).cast("string") for argument in args]
    for value in rest:
        first = first + value
    return first


FUNCTIONS: dict[str, tuple[int, int, Build]] = {
    "column": (1, 1, lambda c, a: c.column(a[0], c.constant(a[0], str, "the name of a column"))),
    "is_null": (1, 1, lambda c, a: c.value(a[0]).isnull()),
    "not_null": (1, 1, lambda c, a: c.value(a[0]).notnull()),
    "coalesce": (2, MANY, lambda c, a: ibis.coalesce(*c.alike(a[0], [c.value(each) for each in a]))),
    "between": (3, 3, _between),
    "starts_with": (2, 2, lambda c, a: c.text_of(a[0]).startswith(c.text_of(a[1]))),
    "ends_with": (2, 2, lambda c, a: c.text_of(a[0]).endswith(c.text_of(a[1]))),
    "contains": (2, 2, lambda c, a: c.text_of(a[0]).contains(c.text_of(a[1]))),
    "matches": (2, 2, _matches),
    "lower": (1, 1, lambda c, a: c.text_of(a[0]).lower()),
    "upper": (1, 1, lambda c, a: c.text_of(a[0]).upper()),
    "strip": (1, 1, lambda c, a: c.text_of(a[0]).strip()),
    "length": (1, 1, lambda c, a: c.text_of(a[0]).length()),
    "round": (1, 2, _round),
    "abs": (1, 1, lambda c, a: c.number(a[0]).abs()),
    "number": (1, 1, _read_number),
    "text": (1, 1, lambda c, a: c.value(a[0]).cast("string")),
    "concat": (2, MANY, _concat),
    "date": (1, 1, lambda c, a: c.day(a[0], c.constant(a[0], str, "the date"))),
    "days_between": (2, 2, lambda c, a: c.calendar_day(a[1]).delta(c.calendar_day(a[0]), unit="day")),
}
"""Built-in functions: least and most arguments, and how each is made."""
