"""Scores of all members by a function of Python, a bounded batch at a time: never all members in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.util import gen_name

if TYPE_CHECKING:
    from crm_core.models.outcome import Task

BATCH_ROWS = 100_000


def in_batches(task: Task, rows: ir.Table, score: Callable[[pa.Table], pa.Table]) -> ir.Table:
    """What `score` makes of `rows`, batch by batch, as a temporary table of the engine."""
    task.spill.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=f"models_{os.getpid()}_", dir=task.spill) as folder:
        path, writer = Path(folder) / "scores.parquet", None
        try:
            for batch in task.engine.to_pyarrow_batches(rows, chunk_size=BATCH_ROWS):
                found = score(pa.Table.from_batches([batch]))
                writer = writer or pq.ParquetWriter(path, found.schema)
                writer.write_table(found)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            path = Path(folder) / "none.parquet"
            pq.write_table(score(rows.limit(0).to_pyarrow()), path)
        return task.engine.create_table(gen_name("scored"), task.engine.read_parquet(path), temp=True)
