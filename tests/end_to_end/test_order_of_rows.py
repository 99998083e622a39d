"""Rows in another order are the same data: no feature, segment, tag, score or card may notice."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core.ingest import ingest
from crm_core.simulate import simulate
from crm_core.workspace import RESULTS, Workspace
from tests.end_to_end.sample_shop import as_of, eager_models, elsewhere, rows

WORLD = {"members": 400, "days": 400}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Counter[tuple[Any, ...]]]]]:
    """Every result of one shop, from its files as they are and from the same files shuffled."""
    raw = tmp_path_factory.mktemp("raw") / "files"
    with elsewhere():
        simulate(raw, **WORLD)
        found = [computed(tmp_path_factory.mktemp("as exported"), raw)]
        shuffle(raw)
        yield [*found, computed(tmp_path_factory.mktemp("shuffled"), raw)]


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS)
def test_shuffled_files_give_the_same_result(results: list[dict[str, Counter[tuple[Any, ...]]]], name: str) -> None:
    exported, shuffled = (each[name] for each in results)
    assert exported
    assert shuffled == exported


def computed(root: Path, raw: Path) -> dict[str, Counter[tuple[Any, ...]]]:
    eager_models(root)
    workspace = Workspace.open(root)
    ingest(workspace.config, workspace.lake, workspace.vault, "sample", [raw])
    opened = as_of(root, Workspace.open(root).as_of)
    return {name: rows(table) for name, table in opened.compute().items()}


def shuffle(folder: Path) -> None:
    """The records of every text file below `folder` in another order, headings first; a record may span lines."""
    files = [path for path in sorted(folder.iterdir()) if path.name.endswith((".csv", ".csv.gz"))]
    assert len(files) > 5
    for path in files:
        packed = path.suffix == ".gz"
        content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        heading, *records = list(whole_records(content.splitlines(keepends=True)))
        random.Random(path.name).shuffle(records)
        mixed = b"".join([heading, *records])
        path.write_bytes(gzip.compress(mixed) if packed else mixed)


def whole_records(lines: list[bytes]) -> Iterator[bytes]:
    kept = b""
    for line in lines:
        kept += line
        if kept.count(b'"') % 2 == 0:
            yield kept
            kept = b""
    assert not kept
