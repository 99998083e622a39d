"""Tables described for people: the README's tables of columns are made from the schemas by `markdown`."""

from __future__ import annotations

from crm_core.schema.table import Column, TableSchema


def markdown(schema: TableSchema) -> str:
    """One table as Markdown: heading, grain, key, rules, then a row per column: type, unit, meaning."""
    lines = [f"### {schema.name}", "", f"{schema.grain}; key: {', '.join(f'`{name}`' for name in schema.key)}."]
    if schema.rules:
        lines += ["", "Every row keeps: " + "; ".join(rule.name for rule in schema.rules) + "."]
    lines += ["", "| column | type | unit | may be empty | meaning |", "|---|---|---|---|---|"]
    lines += [_row(column) for column in schema.columns]
    return "\n".join(lines) + "\n"


def _row(column: Column) -> str:
    meaning = column.meaning
    if column.vocabulary:
        meaning += ": " + ", ".join(column.vocabulary)
    if column.seen_with:
        meaning += f" (known from `{column.seen_with}` on)"
    cells = (f"`{column.name}`", column.type, column.unit, "yes" if column.nullable else "no", meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
