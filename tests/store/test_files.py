"""The engine's way of writing a Delta table: what the files hold is what the rows say, and where they lie is what they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import pytest

from crm_core.store import delta, files
from crm_core.store.engine import read_parquet

WORDS = ["", "O'Brien", "上海", "a" * 500, 'say "no"', "NULL", "2026-10"]


@pytest.mark.parametrize("word", WORDS)
def test_a_text_that_all_rows_share_is_read_back_as_it_is(tmp_path: Path, engine: Any, word: str) -> None:
    rows = ibis.memtable({"key": [1, 2, 3]}).mutate(word=ibis.literal(word)).filter(ibis._.key > 1)
    version = files.write(engine, tmp_path / "t", rows, append=True)
    stored = read_parquet(engine, delta.files(tmp_path / "t", version))
    assert stored.schema() == rows.schema()
    assert sorted(stored.to_pyarrow().to_pylist(), key=str) == [{"key": 2, "word": word}, {"key": 3, "word": word}]


def test_a_text_of_some_rows_alone_is_not_taken_for_that_of_all(tmp_path: Path, engine: Any) -> None:
    one = ibis.memtable({"key": [1, 2]}).mutate(side=ibis.literal("one"))
    two = ibis.memtable({"key": [2, 3]}).mutate(side=ibis.literal("two"))
    joined = one.left_join(two.rename(other="side"), "key").select("key", "side", "other")
    version = files.write(engine, tmp_path / "joined", joined, append=True)
    stored = read_parquet(engine, delta.files(tmp_path / "joined", version)).order_by("key").to_pyarrow().to_pylist()
    assert [row["other"] for row in stored] == [None, "two"]
    version = files.write(engine, tmp_path / "union", one.union(two), append=True)
    stored = read_parquet(engine, delta.files(tmp_path / "union", version)).to_pyarrow().to_pylist()
    assert sorted(row["side"] for row in stored) == ["one", "one", "two", "two"]


def test_rows_lie_in_the_folder_of_their_month_whatever_a_killed_writer_left(tmp_path: Path, engine: Any) -> None:
    days = ["0900-02-03", "2024-12-31 23:59:59.999999", "2025-01-01", "2025-01-31", "9999-12-01"]
    moments = ibis.memtable({"at": days}).mutate(at=ibis._.at.cast("timestamp(6)"))
    rows = moments.mutate(_month=moments.at.strftime("%Y-%m"))
    folder = tmp_path / "t"
    left = folder / "_made-dead" / "_month=202501" / "part-dead.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a file")
    version = files.write(engine, folder, rows, append=True, partition="_month", month_of="at")
    found = {}
    for path in delta.files(folder, version):
        held = read_parquet(engine, [path]).at.to_pyarrow().to_pylist()
        found[Path(path).parent.name] = sorted(f"{moment:%Y-%m-%d}".zfill(10) for moment in held)
    assert found == {
        "_month=0900-02": ["0900-02-03"], "_month=2024-12": ["2024-12-31"],
        "_month=2025-01": ["2025-01-01", "2025-01-31"], "_month=9999-12": ["9999-12-01"],
    }  # fmt: skip
    assert delta.partition_values(folder, version, "_month") == ["0900-02", "2024-12", "2025-01", "9999-12"]
    assert left.exists() and [path.name for path in folder.glob("_made-*")] == ["_made-dead"]
