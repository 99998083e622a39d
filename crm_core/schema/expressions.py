"""The one small expression language of the project's YAML: row rules, mappings, segments and tags.

Python's own syntax, parsed with `ast` and never executed: each allowed node becomes an ibis expression, so
the engine does the work, the same on DuckDB and Spark, and a text from a file can neither call Python nor
reach SQL. Money stays decimal in sums, products and comparisons (numbers written in the text become decimals
beside it); a quotient is a float, and a division by nought is unknown. A time that meets a date is its local day.
Unknown (null) spreads as in SQL: `a > 1` is unknown where `a` is; `condition` reads unknown as no.
"""

from __future__ import annotations

import ast
import datetime
import math
import operator
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from crm_core.errors import InputError, unknown
from crm_core.schema.expression_functions import FUNCTIONS, MANY, alike_numbers, kind_of, product

Function = Callable[..., ir.Value]


class ArgumentError(ValueError):
    """What a function of the caller raises for arguments that make no sense; the message says what is allowed."""


LOCAL_DAY = "the local day"
"""Where the caller's functions say how a time becomes a day; without it, it is the day of the time as it stands."""
MAX_LENGTH = 4_000
"""Characters in one expression; longer ones are refused, as nobody can read them."""

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def compile_expression(text: str, table: ir.Table, *, where: str, functions: Mapping[str, Function] | None = None) -> ir.Value:
    """`text` as an ibis value over the columns of `table`.

    `where` (file and line, or name of the rule) opens every message. `functions` adds calls of the caller,
    given plain Python values for arguments that are literals and ibis values for all others. InputError on
    anything that is not in the language, with its position, and the nearest name where a name is not known.
    """
    return Compiler(text, where, table, functions or {}).compile()


def condition(text: str, table: ir.Table, *, where: str, functions: Mapping[str, Function] | None = None) -> ir.BooleanValue:
    """`text` as a yes or no per row, never null: unknown counts as no.

    Also under `not`: `not tier == 'gold'` is no where the tier is unknown; `is_null(tier) or …` has them too.
    InputError as `compile_expression`, and when the text gives something else than yes or no.
    """
    return yes_or_no(text, table, where=where, functions=functions).ifelse(True, False)


def yes_or_no(text: str, table: ir.Table, *, where: str, functions: Mapping[str, Function] | None = None) -> ir.BooleanValue:
    """As `condition`, but null where it is unknown: for a case, which takes unknown for no by itself."""
    value = compile_expression(text, table, where=where, functions=functions)
    if not isinstance(value, ir.BooleanValue):
        raise InputError(f"{where}: '{text}' gives {kind_of(value)}, a condition must give yes or no")
    return value


def names_in(text: str, where: str = "expression") -> set[str]:
    """The column names that `text` mentions, as written (after NFKC), without those of functions."""
    tree = _Source(text, where).tree
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    return found | {str(name) for call in ast.walk(tree) for name in _quoted_columns(call)}


def calls_in(text: str, function: str, where: str = "expression") -> list[tuple[Any, ...]]:
    """The arguments of each call of `function` in `text`, in order of appearance: literals as they are, others as None."""
    found = [
        (node.lineno, node.col_offset, tuple(getattr(argument, "value", None) for argument in node.args))
        for node in ast.walk(_Source(text, where).tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    ]
    return [arguments for _, _, arguments in sorted(found, key=lambda each: each[:2])]


def printed(text: str, where: str = "expression") -> str:
    """`text` in its one canonical spelling, on one line: what reads the same prints the same, and is the same read again."""
    return ast.unparse(_Source(text, where).tree)


def clauses(text: str, where: str = "expression") -> list[str]:
    """The parts that the outermost `and` (or else `or`) of `text` joins, in order; one where none does."""
    source = _Source(text, where)
    body = source.tree.body
    parts: list[ast.expr] = body.values if isinstance(body, ast.BoolOp) else [body]
    return [ast.get_source_segment(source.wrapped, part) or ast.unparse(part) for part in parts]


def _quoted_columns(node: ast.AST) -> Iterator[Any]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "column":
        yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


class _Source:
    """One expression's text, its tree, and errors that point into it."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: an expression is needed, found {text!r}")
        if len(text) > MAX_LENGTH:
            raise InputError(f"{where}: the expression has {len(text)} characters, allowed are {MAX_LENGTH}")
        stripped = text.strip()
        # A text over several lines needs brackets to be one Python expression.
        self.wrapped = f"({stripped}\n)" if "\n" in stripped else stripped
        try:
            self.tree = ast.parse(self.wrapped, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = str(error) or "nested too deeply"
            if isinstance(error, SyntaxError):
                reason = f"{error.msg} at character {error.offset}"
            raise InputError(f"{where}: '{stripped[:200]}' cannot be read: {reason}") from None

    def fail(self, node: ast.AST, message: str) -> NoReturn:
        """InputError with place, text and the character that `node` starts at."""
        raise InputError(f"{self.where}: {message} ({self.position(node)} of '{self.text.strip()}')")

    def position(self, node: ast.AST) -> str:
        """'character 5', or 'line 2, character 5'; ast counts bytes, people count characters."""
        number, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        line = self.wrapped.splitlines()[number - 1].encode()
        character = len(line[:offset].decode(errors="ignore")) + 1
        if "\n" not in self.wrapped:
            return f"character {character}"
        return f"line {number}, character {character - (number == 1)}"


class Compiler(_Source):
    """Walks the tree; one method for each allowed node, everything else is refused by name."""

    def __init__(self, text: str, where: str, table: ir.Table, functions: Mapping[str, Function]) -> None:
        super().__init__(text, where)
        self.table, self.extra = table, functions
        # Python normalises identifiers to NFKC, headings in files often are not.
        self.columns = {unicodedata.normalize("NFKC", name): name for name in table.columns}

    def compile(self) -> ir.Value:
        try:
            return self.value(self.tree.body)
        except InputError:
            raise
        except RecursionError:
            raise InputError(f"{self.where}: '{self.text[:60]} …' is nested too deeply") from None
        except Exception as error:  # of many types in ibis; each means that the text makes no sense
            raise InputError(f"{self.where}: '{self.text.strip()}' cannot be worked out: {error}") from error

    def value(self, node: ast.expr) -> ir.Value:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            self.fail(node, f"{type(node).__name__} is not part of the expression language")
        return method(node)

    # -- leaves

    def _name(self, node: ast.Name) -> ir.Value:
        return self.column(node, node.id)

    def column(self, node: ast.AST, name: str) -> ir.Value:
        """The column of that name, compared after NFKC; UnknownName with the nearest one."""
        known = self.columns.get(unicodedata.normalize("NFKC", name))
        if known is None:
            place = f"{self.where} ({self.position(node)} of '{self.text.strip()}')"
            raise unknown("column", name, self.columns, place)
        return self.table[known]

    def _constant(self, node: ast.Constant) -> ir.Value:
        value = node.value
        if value is None:
            return ibis.null()
        if not isinstance(value, (str, bool, int, float)):
            self.fail(node, f"a literal must be text, a number, True or False, not {type(value).__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            self.fail(node, "the number is too large")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.fail(node, "the number is too large")
        return ibis.literal(value)

    # -- logic

    def boolean(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not (value.type().is_boolean() or value.type().is_null()):
            self.fail(node, f"'and', 'or', 'not' and 'if' need yes or no, found {kind_of(value)}")
        return value.cast("boolean") if value.type().is_null() else value

    def _boolop(self, node: ast.BoolOp) -> ir.Value:
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        result = self.boolean(node.values[0])
        for part in node.values[1:]:
            result = join(result, self.boolean(part))
        return result

    def _ifexp(self, node: ast.IfExp) -> ir.Value:
        yes, no = self.alike(node, [self.value(node.body), self.value(node.orelse)])
        return ibis.ifelse(self.boolean(node.test), yes, no)

    def _compare(self, node: ast.Compare) -> ir.Value:
        left, result = node.left, None
        for kind, right in zip(node.ops, node.comparators, strict=True):
            link = self.compare(left, kind, right)
            result = link if result is None else operator.and_(result, link)
            left = right
        assert result is not None
        return result

    def compare(self, left: ast.expr, kind: ast.cmpop, right: ast.expr) -> Any:
        """One link of a comparison; unlike kinds of value are refused, as engines would guess."""
        if isinstance(kind, (ast.Is, ast.IsNot)) or _is_none(left) or _is_none(right):
            self.fail(left, "compare with None by is_null(x) or not_null(x)")
        if isinstance(kind, (ast.In, ast.NotIn)):
            return self.membership(left, kind, right)
        one, two = self.alike(left, [self.value(left), self.value(right)])
        return _COMPARE[type(kind)](one, two)

    def membership(self, left: ast.expr, kind: ast.cmpop, right: ast.expr) -> Any:
        if not isinstance(right, (ast.List, ast.Tuple, ast.Set)) or not right.elts:
            self.fail(right, "after 'in' comes a list like ['a', 'b']; for a part of a text use contains(x, y)")
        if any(_is_none(item) for item in right.elts):
            self.fail(right, "None cannot be in a list; use is_null(x)")
        value, *items = self.alike(left, [self.value(left), *(self.value(item) for item in right.elts)])
        found = _listed(value, items)
        return ~found if isinstance(kind, ast.NotIn) else found

    # -- arithmetic

    def number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not value.type().is_numeric():
            self.fail(node, f"arithmetic needs numbers, found {kind_of(value)}; number(text) reads one")
        return value

    def _unaryop(self, node: ast.UnaryOp) -> ir.Value:
        if isinstance(node.op, ast.Not):
            return ~self.boolean(node.operand)
        if isinstance(node.op, ast.Invert):
            self.fail(node, "the operator ~ is not part of the expression language; use 'not'")
        value = self.number(node.operand)
        if isinstance(node.op, ast.UAdd):
            return value
        literal = value.op()
        return ibis.literal(-literal.value) if isinstance(literal, ops.Literal) else -value

    def _binop(self, node: ast.BinOp) -> ir.Value:
        left, right = self.number(node.left), self.number(node.right)
        if isinstance(node.op, ast.Div):
            # Spark raises on a division by nought, DuckDB gives infinity: unknown on both.
            return left.cast("float64") / right.cast("float64").nullif(0.0)
        work = _ARITHMETIC.get(type(node.op))
        if work is None:
            self.fail(node, "arithmetic knows + - * / only")
        if isinstance(left.op(), ops.Literal) and isinstance(right.op(), ops.Literal):
            # Written numbers are worked out here, so that 0.1 * 3 beside money is a literal and exact too.
            exact = work(*(Decimal(str(value.op().value)) for value in (left, right)))
            return ibis.literal(int(exact) if left.type().is_integer() and right.type().is_integer() else float(exact))
        return product(left, right) if work is operator.mul else work(*alike_numbers([left, right]))

    def alike(self, node: ast.AST, values: list[Any]) -> list[Any]:
        """The values made comparable (decimals, dates written as text), or an error naming the kinds."""
        family = {kind_of(value) for value in values if not value.type().is_null()}
        if family == {"a date", "text"}:
            values = [self.moment(node, value) if kind_of(value) == "text" else value for value in values]
            family = {"a date"}
        elif len(family) > 1:
            kinds = " and ".join(sorted(family))
            self.fail(node, f"{kinds} cannot be compared or mixed; use number(x), text(x) or date('…')")
        if family == {"a date"} and any(value.type().is_date() for value in values):
            return [self.its_day(value) for value in values]
        return alike_numbers(values) if family == {"a number"} else values

    def its_day(self, value: Any) -> Any:
        """A time as its local day; anything else as it is."""
        if not value.type().is_timestamp():
            return value
        return self.extra[LOCAL_DAY](value) if LOCAL_DAY in self.extra else value.date()

    def moment(self, node: ast.AST, value: ir.Value) -> ir.Value:
        literal = value.op()
        if not isinstance(literal, ops.Literal):
            self.fail(node, "a date and text cannot be compared")
        return self.day(node, literal.value)

    def day(self, node: ast.AST, text: object) -> ir.Value:
        try:
            return ibis.literal(datetime.date.fromisoformat(str(text)))
        except ValueError:
            self.fail(node, f"'{text}' is no date; write it as '2026-01-31'")

    # -- calls

    def _call(self, node: ast.Call) -> ir.Value:
        if not isinstance(node.func, ast.Name):
            self.fail(node, "only functions can be called, by their plain name")
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self.fail(node, f"{node.func.id}() takes plain arguments only")
        name = node.func.id
        if name in self.extra:
            arguments = [a.value if isinstance(a, ast.Constant) else self.value(a) for a in node.args]
            try:
                return self.extra[name](*arguments)
            except ArgumentError as error:
                self.fail(node, f"{name}(): {error}")
        if name not in FUNCTIONS:
            place = f"{self.where} ({self.position(node)} of '{self.text.strip()}')"
            raise unknown("function", name, {*FUNCTIONS, *self.extra} - {LOCAL_DAY}, place)
        least, most, build = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            takes = f"{least} to {most}" if most < MANY else f"at least {least}"
            self.fail(node, f"{name}() takes {takes} arguments, found {len(node.args)}")
        return build(self, node.args)

    def text_of(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not value.type().is_string():
            self.fail(node, f"text is needed here, found {kind_of(value)}; text(x) makes it")
        return value

    def constant(self, node: ast.expr, kind: type, what: str) -> Any:
        value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            self.fail(node, f"{what} must be written out here")
        return value

    def calendar_day(self, node: ast.expr) -> Any:
        value: Any = self.value(node)
        if not value.type().is_temporal():
            self.fail(node, f"a date is needed here, found {kind_of(value)}")
        return self.its_day(value)


def _listed(value: Any, items: list[Any]) -> Any:
    """Whether `value` is one of `items`, unknown where it is. Texts are looked up in an array: where a column has few different
    ones, DuckDB does so once for each of them instead of once for each row."""
    if not value.type().is_string() or not all(isinstance(item.op(), ops.Literal) for item in items):
        return value.isin(items)
    return value.notnull().ifelse(ibis.array(items).contains(value), ibis.null("boolean"))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
