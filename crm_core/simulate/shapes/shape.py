"""What a file of a shape is, how its cells are made from a frame, and the writer that appends block by block.

A cell is the name of a frame's column, or a function of the frame; `const`, `words`, `joined`, `first`, `stamped` and `where`
make such functions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from crm_core.simulate.files import BOM, write_workbook

Make: TypeAlias = Callable[[pa.Table], pa.Array]
Cell: TypeAlias = str | Make
EMPTY = pa.scalar(None, pa.string())


@dataclass(frozen=True)
class FileShape:
    """One file: the preset that reads it, the frame whose rows it shows, its headings in order with their cells.

    `only` picks rows of the frame; `headings` False writes no heading row; `unfilled` are headings at the end that no
    row has a cell for. The suffix of `name` says the format; `encoding` is for text.
    """

    source: str
    name: str
    rows: str
    columns: tuple[tuple[str, Cell], ...]
    encoding: str = "utf-8"
    only: Make | None = None
    headings: bool = True
    unfilled: tuple[str, ...] = ()

    def cut(self, frame: pa.Table) -> pa.Table:
        """The rows of `frame` that the file shows, all columns."""
        return frame if self.only is None else frame.filter(self.only(frame))

    def cells(self, frame: pa.Table) -> list[pa.Array]:
        """The file's columns."""
        made = [frame[cell] if isinstance(cell, str) else cell(frame) for _, cell in self.columns]
        return [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in made]


def const(value: str) -> Make:
    """The same text in every row."""
    return lambda frame: pa.repeat(pa.scalar(value), len(frame))


def empty(frame: pa.Table) -> pa.Array:
    """A column that says nothing."""
    return pa.nulls(len(frame), pa.string())


def words(column: str, known: dict[str, str | None]) -> Make:
    """The platform's word for each of ours; a word that is not among them stays as it is."""

    def make(frame: pa.Table) -> pa.Array:
        place = pc.index_in(frame[column], pa.array(list(known)))
        return pc.if_else(place.is_valid(), pa.array(list(known.values()), pa.string()).take(place), frame[column])

    return make


def joined(*parts: Cell) -> Make:
    """Columns and functions joined to one text; empty where one of them is."""
    return lambda frame: pc.binary_join_element_wise(*(_of(frame, part) for part in parts), "")


def changed(cell: Cell, pattern: str, by: str) -> Make:
    """A pattern of the text replaced."""
    return lambda frame: pc.replace_substring_regex(_of(frame, cell), pattern, by)


def first(cell: Cell) -> Make:
    """Only in an order's first row, as shops that write order cells once do; copies of rows are equal to them."""
    return lambda frame: pc.if_else(frame["_first"], _of(frame, cell), EMPTY)


def paid(cell: Cell, otherwise: str | None = None) -> Make:
    """Only where the order was paid."""
    return lambda frame: pc.if_else(frame["订单付款时间"].is_valid(), _of(frame, cell), pa.scalar(otherwise, pa.string()))


def filled(column: str, word: str) -> Make:
    """A column with a word where it says nothing."""
    return lambda frame: pc.fill_null(frame[column], word)


def one_of(column: str, *values: str) -> Make:
    """Rows whose column is one of the values."""
    return lambda frame: pc.is_in(frame[column], pa.array(values))


def original(frame: pa.Table) -> pa.Array:
    """Rows that are no second copy, for sources whose rows have nothing that tells a copy from a row of its own."""
    return pc.invert(frame["_copy"])


def _of(frame: pa.Table, cell: Cell) -> Any:
    return frame[cell] if isinstance(cell, str) else cell(frame)


class ShapeFiles:
    """Writes the files of a shape; what it counts is what `RawFiles` counts, by file name."""

    def __init__(self, folder: Path, files: tuple[FileShape, ...]) -> None:
        self._folder, self._files = folder, files
        self._open: dict[str, IO[bytes]] = {}
        self._parquet: dict[str, pq.ParquetWriter] = {}
        self._books: dict[str, list[pa.Table]] = {}
        self._closing = ExitStack()
        self.rows: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def write(self, found: dict[str, pa.Table]) -> None:
        """Appends what the frames of one block add to each file."""
        for file in self._files:
            if file.rows in found:
                frame = file.cut(found[file.rows])
                self.rows[file.name] += len(frame)
                self.repeated[file.name] += pc.sum(frame["_copy"]).as_py() or 0
                self.refused[file.name] += pc.sum(frame["_refused"]).as_py() or 0
                self._append(file, pa.table(file.cells(frame), [name for name, _ in file.columns]))

    def close(self) -> None:
        """Writes the workbooks and closes every file."""
        for name, parts in self._books.items():
            table = pa.concat_tables(parts)
            write_workbook(self._folder / name, dict(zip(table.column_names, table.columns, strict=True)))
        self._closing.close()

    def _append(self, file: FileShape, table: pa.Table) -> None:
        if file.name.endswith(".xlsx"):
            self._books.setdefault(file.name, []).append(table)
            return
        if file.name.endswith(".parquet"):
            if file.name not in self._parquet:
                writer = pq.ParquetWriter(self._folder / file.name, table.schema)
                self._parquet[file.name] = self._closing.enter_context(writer)
            self._parquet[file.name].write_table(table)
            return
        if file.name not in self._open:
            self._open[file.name] = self._start(file)
        self._open[file.name].write(_lines(table) if file.name.endswith(".jsonl") else _csv(table, file.encoding))

    def _start(self, file: FileShape) -> IO[bytes]:
        handle = self._closing.enter_context((self._folder / file.name).open("wb"))
        if file.encoding == "utf-8-sig":
            handle.write(BOM)
        if file.headings and not file.name.endswith(".jsonl"):
            names = [*(name for name, _ in file.columns), *file.unfilled]
            handle.write((",".join(names) + "\n").encode(file.encoding.removesuffix("-sig")))
        return handle


def _csv(table: pa.Table, encoding: str) -> bytes:
    buffer = pa.BufferOutputStream()
    pa_csv.write_csv(table, buffer, pa_csv.WriteOptions(include_header=False, batch_size=8_192))
    written = buffer.getvalue()
    return str(written, "utf-8").encode(encoding) if encoding == "gb18030" else bytes(written)


def _lines(table: pa.Table) -> bytes:
    """One JSON object a row; a heading `a.b` is a key b in an object a. Empty cells are left out."""
    groups: dict[str, list[tuple[str, pa.Array]]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        outer, _, inner = name.rpartition(".")
        groups.setdefault(outer, []).append((inner, column.combine_chunks()))
    parts = [_members_of(columns) for columns in groups.values()]
    bodies = [
        part if not outer else pc.binary_join_element_wise(f"{json.dumps(outer)}:{{", part, "}", "")
        for outer, part in zip(groups, parts, strict=True)
    ]
    whole = pc.binary_join_element_wise("{", pc.binary_join_element_wise(*bodies, ","), "}\n", "")
    return "".join(whole.to_pylist()).encode()


def _members_of(columns: list[tuple[str, pa.Array]]) -> pa.Array:
    cells = []
    for name, column in columns:
        escaped = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), '"', '\\"')
        cells.append(pc.fill_null(pc.binary_join_element_wise(f'{json.dumps(name)}:"', escaped, '",', ""), ""))
    return pc.replace_substring_regex(pc.binary_join_element_wise(*cells, ""), ",$", "")
