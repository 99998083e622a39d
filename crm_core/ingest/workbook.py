"""An XLSX sheet as a Parquet file of text, made in a child process with a memory limit (this file, run as a
script).

Calamine opens the whole sheet in memory, and a hostile 0.9 MB workbook can fill half a gigabyte: the child
may die, the load must not.
"""

from __future__ import annotations

import datetime
import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from crm_core.errors import InputError

MEMORY = 2 * 2**30
SECONDS = 600
BATCH = 20_000
HEAD = 20  # rows in which the headings of another sheet are looked for


@dataclass(frozen=True)
class Sheet:
    """What was found in a workbook: the headings of the sheet that is read, how many rows are above its first row, and the
    names of the other sheets that say something, where no setting chose one."""

    headings: list[str]
    above: int
    others: tuple[str, ...] = ()


def convert(path: Path, target: Path, name: str, sheet: str, skip_lines: int, given: Sequence[str] = ()) -> Sheet:
    """Writes the rows below the headings to `target` (columns c0 …, all text). `given`: the headings, where the sheet has none.

    InputError where the workbook is damaged, has no such sheet, no headings, or needs more memory than
    allowed.
    """
    command = [sys.executable, "-P", __file__, str(path), str(target), sheet, str(skip_lines), *given]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{name} took more than {SECONDS} s to open; save the sheet as CSV") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise InputError(
            f"{name} cannot be opened (the reader stopped with {done.returncode}, perhaps for want of "
            "memory); save the sheet as CSV"
        ) from None
    if "error" in answer:
        raise InputError(f"{name}: {answer['error']}")
    return Sheet(answer["headings"], answer["above"], tuple(answer["others"]))


def _convert(path: Path, target: Path, sheet: str, skip_lines: int, given: list[str]) -> dict[str, Any]:
    try:
        from python_calamine import CalamineWorkbook
    except ImportError:
        return {"error": "reading XLSX needs the extra: install crm-core[excel], or save the sheet as CSV"}
    try:
        book = CalamineWorkbook.from_path(str(path))
        if sheet and sheet not in book.sheet_names:
            return {"error": f"there is no sheet '{sheet}'; sheets: {', '.join(book.sheet_names)}"}
        rows = book.get_sheet_by_name(sheet or book.sheet_names[0]).to_python(skip_empty_area=False)
        others = {} if sheet else {name: book.get_sheet_by_name(name).to_python(nrows=HEAD) for name in book.sheet_names[1:]}
    except Exception as error:  # noqa: BLE001 - the library's errors are many; each means a damaged file
        return {"error": f"the workbook is damaged ({str(error)[:120]}); export it again"}
    alike = [name for name, head in others.items() if head and _headings(head, 0) == _headings(rows, 0)]
    if alike and not given:
        return {
            "error": f"sheet{'s' * (len(alike) > 1)} {', '.join(alike)} {'have' if len(alike) > 1 else 'has'} the headings of the "
            "first one, and one sheet is read: save each as a file of its own"
        }
    texts = ([_text(cell) for cell in row] for row in rows)
    return _write(texts, target, skip_lines, given) | {"others": [name for name, head in others.items() if any(map(any, head))]}


def _headings(rows: list[list[Any]], above: int) -> list[str]:
    return [text for cell in next((row for row in rows[above:] if any(row)), []) if (text := (_text(cell) or "").strip())]


def _write(rows: Any, target: Path, skip_lines: int, given: list[str]) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    above, headings = 0, []
    for row in rows:
        if above >= skip_lines and any(row):
            headings = [cell or "" for cell in row]
            break
        above += 1
    if not headings:
        return {"error": "the sheet is empty; choose another with reader.sheet"}
    if given:
        if len(given) < len(headings):
            return {"error": f"the first row has {len(headings)} cells, reader.headings names {len(given)}"}
        if headings[: len(given)] == given:
            return {"error": "the first row repeats reader.headings; leave that setting out"}
        # a sheet may end before its last columns
        first = [*[cell or None for cell in headings], *[None] * (len(given) - len(headings))]
        rows = chain([first], ([*row, *[None] * (len(given) - len(row))] for row in rows))
        headings, above = given, above - 1
    schema = pa.schema([(f"c{place}", pa.string()) for place in range(len(headings))])
    with pq.ParquetWriter(target, schema, compression="snappy") as writer:
        rows = _without_end(rows)
        while batch := list(islice(rows, BATCH)):
            columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return {"headings": headings, "above": above + 1}


def _without_end(rows: Iterable[list[str | None]]) -> Iterator[list[str | None]]:
    """The rows without blank ones behind the last that says something, which a sheet with formats often has."""
    blank = []
    for row in rows:
        blank.append(row)
        if any(row):
            yield from blank
            blank.clear()


def _text(cell: Any) -> str | None:
    if cell is None or cell == "":
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        # a spreadsheet keeps 15 digits: a longer number is shown as what it is, so that nobody takes it for an id
        return str(int(cell)) if abs(cell) < 10**15 else f"{cell:.15E}"
    if isinstance(cell, float):
        return f"{cell:.15g}"  # 51.300000000000004, which a formula left, is shown there as 51.3
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(sep=" ")
    return str(cell)


def main(arguments: list[str]) -> int:
    """The child: limits its own memory, converts, and answers with one JSON line on standard output."""
    path, target, sheet, skip_lines, *given = arguments
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stdout.write(json.dumps(_convert(Path(path), Path(target), sheet, int(skip_lines), given)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
