"""An expression in words, Chinese or English, for people who never saw its syntax: 'paid orders = 1 and …'."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from crm_core.schema.expressions import _Source

ZH, EN = 0, 1
SIGNS = {ast.Eq: "=", ast.NotEq: "≠", ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥"}
ARITHMETIC = {ast.Add: "+", ast.Sub: "−", ast.Mult: "×", ast.Div: "÷"}
JOINS = {ast.And: (" 且 ", " and "), ast.Or: (" 或 ", " or ")}
PHRASES: dict[str, tuple[str, str]] = {
    "is_null": ("{0}未知", "{0} is not known"),
    "not_null": ("{0}已知", "{0} is known"),
    "between": ("{0}在 {1} 到 {2} 之间", "{0} from {1} to {2}"),
    "contains": ("{0}包含 {1}", "{0} contains {1}"),
    "starts_with": ("{0}以 {1} 开头", "{0} starts with {1}"),
    "ends_with": ("{0}以 {1} 结尾", "{0} ends with {1}"),
    "in_segment": ("在分群 {0} 中", "in segment {0}"),
    "in_segment 2": ("{1} 当天在分群 {0} 中", "in segment {0} on {1}"),
    "times": ("{0} 次数", "times of {0}"),
    "times 2": ("近 {1} 天 {0} 次数", "times of {0} in {1} days"),
    "did": ("有过 {0}", "did {0}"),
    "did 2": ("{0} 至少 {1} 次", "did {0} at least {1} times"),
    "did 3": ("近 {2} 天 {0} 至少 {1} 次", "did {0} at least {1} times in {2} days"),
    "did_not": ("从未 {0}", "never did {0}"),
    "did_not 2": ("近 {1} 天没有 {0}", "did not {0} in {1} days"),
    "bucket": ("随机桶（{0}，共 {1} 个）", "random bucket ({0}, of {1})"),
}
"""Function, or function and number of arguments → how it reads; functions that are not here read as they are written."""


def in_words(text: str, names: Mapping[str, tuple[str, str]], language: str = "zh") -> str:
    """`text` in words; `names`: a column or a word in quotes → what people call it in (zh, en)."""
    source = _Source(text, "expression")
    return _Words(names, ZH if language == "zh" else EN).of(source.tree.body)


class _Words:
    def __init__(self, names: Mapping[str, tuple[str, str]], language: int) -> None:
        self.names, self.language = names, language

    def of(self, node: ast.expr, inside: bool = False) -> str:
        """`node` in words, in brackets when it joins parts `inside` something else."""
        if isinstance(node, ast.BoolOp):
            joined = JOINS[type(node.op)][self.language].join(self.of(part, True) for part in node.values)
            return self._bracketed(joined) if inside else joined
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ("非", "not ")[self.language] + self.of(node.operand, True)
        if isinstance(node, ast.Compare):
            said = self._compared(node)
            return self._bracketed(said) if inside and len(node.ops) > 1 else said
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            worked = f"{self.of(node.left, True)} {ARITHMETIC[type(node.op)]} {self.of(node.right, True)}"
            return self._bracketed(worked) if inside else worked
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Name):
            return self.named(node.id)
        if isinstance(node, ast.Constant):
            return self.named(node.value) if isinstance(node.value, str) else self._plain(node.value)
        return ast.unparse(node)

    def named(self, name: str) -> str:
        return self.names[name][self.language] if name in self.names else name

    def _plain(self, value: object) -> str:
        if isinstance(value, bool):
            return (("否", "no"), ("是", "yes"))[value][self.language]
        return f"{value:,}" if isinstance(value, (int, float)) else str(value)

    def _bracketed(self, text: str) -> str:
        return f"（{text}）" if self.language == ZH else f"({text})"

    def _compared(self, node: ast.Compare) -> str:
        said, left = [], self._side(node.left)
        for kind, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(kind, (ast.In, ast.NotIn)):
                listed = ("、", ", ")[self.language].join(self.of(item, True) for item in getattr(right, "elts", [right]))
                words = (("是 {0} 之一", "不是 {0} 之一"), ("one of {0}", "none of {0}"))[self.language]
                said.append(f"{left} {words[isinstance(kind, ast.NotIn)].format(listed)}")
            else:
                said.append(f"{left} {SIGNS[type(kind)]} {self._side(right)}")
            left = self._side(right) if not isinstance(kind, (ast.In, ast.NotIn)) else left
        return JOINS[ast.And][self.language].join(said)

    def _side(self, node: ast.expr) -> str:
        """One side of a comparison, in brackets where it is one itself."""
        said = self.of(node, True)
        return self._bracketed(said) if isinstance(node, ast.Compare) and len(node.ops) == 1 else said

    def _called(self, node: ast.Call) -> str:
        name = getattr(node.func, "id", "")
        phrase = PHRASES.get(f"{name} {len(node.args)}", PHRASES.get(name))
        arguments = [self.of(argument, phrase is not None) for argument in node.args]
        if phrase is None or phrase[self.language].count("{") > len(arguments):
            return f"{name}({', '.join(arguments)})"
        return phrase[self.language].format(*arguments)
