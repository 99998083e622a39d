"""Files of every preset, damaged, loaded: no traceback, every row accounted for, sums agree, nothing private said.

    python tests/soak/mutations.py --files 10000 --seed 7

Each case takes one file that the simulator wrote, damages it (bytes, cells, rows, headings, encoding, length, packing) and loads
it. Allowed ends: a load whose read rows are its accepted, duplicate and rejected ones and whose sums of money agree, or one
clear refusal (InputError, RunFailed) after which the lake is what it was. Up to `TOGETHER` damages of one file that can be opened
go into one load, where each must have an account of its own that adds up; a refused load is followed by one of each of its files
alone. One group in `WRITE_EVERY` writes; the others are dry runs, which do everything but writing. A failure prints the seed
that makes it again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path

from crm_core.config import Config, EngineSettings
from crm_core.errors import InputError, RunFailed
from crm_core.ingest import LoadReport, ingest
from crm_core.ingest.files import find
from crm_core.ingest.load import context_of, workspace_of
from crm_core.ingest.opening import open_file
from crm_core.simulate import simulate
from crm_core.simulate.blocks import draw
from crm_core.simulate.catalogue import catalogue
from crm_core.simulate.raw_people import emails
from crm_core.simulate.shapes import SHAPES
from crm_core.simulate.world import World
from crm_core.store import Lake, Ledger, Vault, connect, now

CONF = Path(__file__).resolve().parents[2] / "conf"
WORLD = World(14, 20_261_031, 60, date(2026, 10, 31), date(2026, 10, 31), 0.3)
WRITE_EVERY = 5
TOGETHER = 8
HOSTILE = (
    "", " ", "=1+1", "NaN", "-0.00", "1e309", "99999999999999999999", "0000-00-00", "2026-02-30 25:61:00", "😀" * 30, "\u200b",
    "' OR 1=1 --", "12.345", "-5", "١٢٣", "null", "\\", "x" * 20_000, "a\tb", "1,234.50", "￥12.00", "{}", '{"a":', "TRUE",
)  # fmt: skip
Damage = Callable[[random.Random, bytes, str], bytes]


# -- what can happen to bytes


def _cut(rng: random.Random, data: bytes, _: str) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _head_lost(rng: random.Random, data: bytes, _: str) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def _flipped(rng: random.Random, data: bytes, _: str) -> bytes:
    changed = bytearray(data)
    for _place in range(rng.choice((1, 2, 20))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _inserted(rng: random.Random, data: bytes, _: str) -> bytes:
    place = rng.randrange(len(data) + 1)
    piece = rng.choice((b"\0", b'"', b"\n", b"\r", b"\xef\xbb\xbf", b"\x81", b",,,,", b"\x1a", b"\xff\xfe", rng.randbytes(40)))
    return data[:place] + piece + data[place:]


def _twice(_rng: random.Random, data: bytes, _: str) -> bytes:
    return data + data


def _packed(rng: random.Random, data: bytes, _: str) -> bytes:
    packed = gzip.compress(data)
    return packed if rng.random() < 0.5 else packed[: rng.randrange(1, len(packed))]


def _zipped(rng: random.Random, data: bytes, _: str) -> bytes:
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(rng.choice((0, 1, 2))):
            archive.writestr(f"part{number}.csv", data)
    return whole.getvalue() if rng.random() < 0.7 else whole.getvalue()[:-10]


# -- what can happen to text


def _recoded(rng: random.Random, data: bytes, encoding: str) -> bytes:
    text = data.decode(encoding, "replace")
    return text.encode(rng.choice(("utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-be", "big5", "latin-1")), "replace")


def _line_ends(rng: random.Random, data: bytes, _: str) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\n\r")))


def _delimited(rng: random.Random, data: bytes, _: str) -> bytes:
    return data.replace(b",", rng.choice((b";", b"\t", b"|", b" ")))


def _on_lines(change: Callable[[random.Random, list[str]], None]) -> Damage:
    def damage(rng: random.Random, data: bytes, encoding: str) -> bytes:
        lines = data.decode(encoding, "replace").split("\n")
        change(rng, lines)
        return "\n".join(lines).encode(encoding, "replace")

    return damage


def _row_lost(rng: random.Random, lines: list[str]) -> None:
    del lines[rng.randrange(len(lines))]


def _row_again(rng: random.Random, lines: list[str]) -> None:
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))


def _shuffled(rng: random.Random, lines: list[str]) -> None:
    rng.shuffle(lines)


def _cells(change: Callable[[random.Random, list[str]], None], *, heading: bool = False) -> Damage:
    def on(rng: random.Random, lines: list[str]) -> None:
        place = 0 if heading else rng.randrange(len(lines))
        cells = lines[place].split(",")
        change(rng, cells)
        lines[place] = ",".join(cells)

    return _on_lines(on)


def _cell_hostile(rng: random.Random, cells: list[str]) -> None:
    cell = rng.choice(HOSTILE)
    cells[rng.randrange(len(cells))] = json.dumps(cell, ensure_ascii=False) if rng.random() < 0.7 else cell


def _cell_lost(rng: random.Random, cells: list[str]) -> None:
    del cells[rng.randrange(len(cells))]


def _cell_more(rng: random.Random, cells: list[str]) -> None:
    cells.insert(rng.randrange(len(cells) + 1), rng.choice((*HOSTILE, *cells)))


def _cells_swapped(rng: random.Random, cells: list[str]) -> None:
    one, two = rng.randrange(len(cells)), rng.randrange(len(cells))
    cells[one], cells[two] = cells[two], cells[one]


BYTES: tuple[Damage, ...] = (_cut, _head_lost, _flipped, _inserted, _twice, _packed, _zipped)
TEXT: tuple[Damage, ...] = (
    _recoded, _line_ends, _delimited, _on_lines(_row_lost), _on_lines(_row_again), _on_lines(_shuffled),
    _cells(_cell_hostile), _cells(_cell_hostile), _cells(_cell_hostile), _cells(_cell_lost), _cells(_cell_more),
    _cells(_cells_swapped), _cells(_cell_hostile, heading=True), _cells(_cell_lost, heading=True),
    _cells(_cell_more, heading=True), _cells(_cells_swapped, heading=True),
)  # fmt: skip


# -- the files, and what must hold


@dataclass(frozen=True)
class Original:
    """A file as the simulator wrote it, the preset that reads it, and its encoding (empty: no text)."""

    source: str
    name: str
    data: bytes
    encoding: str


@dataclass
class Tally:
    """How the cases ended: accepted whole or in part, refused, and what must not be."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def told(self, ends: Counter[str], of: str, wrong: str, say: Callable[[str], None]) -> None:
        """Counts how a load ended and keeps what was wrong with it."""
        self.ends += ends
        if wrong:
            self.faults.append(f"{of}: {dict(ends)}: {wrong}")
            say(self.faults[-1])


def originals(folder: Path) -> list[Original]:
    """Every file of every shape, and those of the sample shop."""
    found: list[Original] = []
    for shape, files in (*SHAPES.items(), ("sample", ())):
        raw = folder / shape
        simulate(raw, WORLD.members, WORLD.seed, WORLD.days, WORLD.until, events=WORLD.events, shape=shape)
        known = {file.name: file.source for file in files}
        for path in sorted(path for path in raw.iterdir() if path.is_file()):
            data = path.read_bytes()
            found.append(Original(known.get(path.name, shape), path.name, data, _encoding(path, data)))
    return found


def _encoding(path: Path, data: bytes) -> str:
    if path.suffix in (".xlsx", ".parquet", ".gz"):
        return ""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "gb18030"
    return "utf-8"


def damaged(rng: random.Random, file: Original) -> bytes:
    """The file after one to three damages."""
    data = file.data
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            data = rng.choice((*BYTES, *TEXT, *TEXT) if file.encoding else BYTES)(rng, data, file.encoding)
    return data


class Bench:
    """One workspace that all cases are loaded into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = Config.read([CONF])
        ledger = Ledger.in_folder(folder / "ledger")
        engine = connect(EngineSettings(memory_limit="1GB", threads=2), folder / "spill")
        self.lake, self.vault = Lake(folder / "lake", ledger, engine), Vault(folder / "vault", ledger, engine)
        people = draw(WORLD, catalogue(WORLD), 0, []).people
        self.secrets = {*map(str, people.phone), *filter(None, emails(people).to_pylist())}

    def judge(self, file: Original, data: bytes, write: bool) -> tuple[str, str]:
        """(how it ended, what is wrong with that, or nothing)."""
        ends, wrong = self.judge_all(file, [data], write)
        return next(iter(ends)), wrong

    def judge_all(self, file: Original, damages: list[bytes], write: bool) -> tuple[Counter[str], str]:
        """One load of several damages of a file: (how each ended; if refused, all), what is wrong with that, or nothing)."""
        before = self._state() if write else None
        try:
            with self._written(file, damages) as paths:
                report = ingest(self.config, self.lake, self.vault, file.source, paths, dry_run=not write)
        except (InputError, RunFailed, ExceptionGroup) as error:
            said, ends = str(error), Counter(refused=len(damages))
            if "fault of the program" in said or len(said) > 6_000:
                return ends, f"says {said[:300]}"
            if write and self._state() != before:
                return ends, "the lake is not what it was before the refusal"
            return ends, self._private(said)
        except Exception:  # noqa: BLE001 – that there is none is what is being tested
            return Counter(traceback=len(damages)), traceback.format_exc(limit=-5)
        if len(damages) > 1 and len(report.files) != len(damages):
            return Counter(), f"{len(report.files)} accounts of {len(damages)} files"
        partly = [one for one in report.files if one.rejected] if len(damages) > 1 else [report] * bool(report.rejected)
        return +Counter(partly=len(partly), whole=len(damages) - len(partly)), self._told(report)

    def opens(self, file: Original, data: bytes) -> bool:
        """Whether a load gets further than opening this damage; an archive is left to a load of its own."""
        if not data or (data[:2] == b"PK" and file.data[:2] != b"PK"):
            return False
        context = context_of(self.config, self.lake, file.source, now())
        with self._written(file, [data]) as paths, workspace_of(self.lake) as work:
            try:
                (found,), _ = find(context.settings, paths)
                open_file(context.engine, context.settings, found, *found.measure(), work / "copy")
            except Exception:  # noqa: BLE001 – a load of its own will tell what it is
                return False
        return True

    @contextmanager
    def _written(self, file: Original, damages: list[bytes]) -> Iterator[list[Path]]:
        folder = self.folder / "in"
        paths = [folder / str(number) / file.name for number, _ in enumerate(damages)]
        try:
            for path, data in zip(paths, damages, strict=True):
                path.parent.mkdir(parents=True)
                path.write_bytes(data)
            yield paths
        finally:
            shutil.rmtree(folder)

    def _state(self) -> object:
        snapshot = self.lake.snapshot()
        return snapshot and (snapshot.id, dict(snapshot.versions))

    def _told(self, report: LoadReport) -> str:
        for one in report.files:
            if not one.known_load and one.read != one.accepted + one.duplicate + one.rejected:
                return f"read {one.read}, accepted {one.accepted}, duplicate {one.duplicate}, rejected {one.rejected}"
        for balance in report.balances:
            if balance.rows != balance.written:
                return f"{balance.name}: {balance.rows} in rows, {balance.written} written"
        return self._private(" ".join(reject.reason for reject in report.rejects))

    def _private(self, said: str) -> str:
        return "a contact value is said" if any(secret in said for secret in self.secrets) else ""


def run(files: int, seed: int, folder: Path, say: Callable[[str], None] = lambda _: None) -> Tally:
    """Loads `files` damaged files; every fault names the preset, the file and the case's own seed."""
    tally = Tally()
    known = originals(folder / "originals")
    bench = Bench(folder)
    began = time.monotonic()
    for number, (file, cases) in enumerate(_groups(files, seed, known)):
        write = number % WRITE_EVERY == 0
        judged = {case: damaged(random.Random(case), file) for case in cases}
        group = [case for case in cases if bench.opens(file, judged[case])]
        if len(group) > 1:
            ends, wrong = bench.judge_all(file, [judged[case] for case in group], write)
            if ends["refused"]:
                ends, group = Counter(), group if wrong else []
            tally.told(ends, f"{file.source} {file.name} (cases {group})", wrong, say)
        for case in [case for case in cases if len(group) < 2 or case not in group]:
            end, wrong = bench.judge(file, judged[case], write)
            tally.told(Counter([end]), f"{file.source} {file.name} (case {case})", wrong, say)
        if number % 50 == 49:
            say(f"{tally.ends.total()} files, {dict(tally.ends)}, {time.monotonic() - began:.0f} s")
    return tally


def _groups(files: int, seed: int, known: list[Original]) -> Iterator[tuple[Original, list[str]]]:
    """The cases of each file of each preset, in groups; a short run has every file too."""
    for first in range(0, files, len(known) * TOGETHER):
        numbers = range(first, min(first + len(known) * TOGETHER, files))
        for place, file in enumerate(known):
            if cases := [f"{seed}-{number}" for number in numbers if number % len(known) == place]:
                yield file, cases


def main() -> int:
    """Runs the soak; 1 when anything must not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    os.environ.setdefault("CRM_VAULT_KEY", "5a" * 32)
    folder = Path(tempfile.mkdtemp(prefix="mutations_"))
    try:
        tally = run(asked.files, asked.seed, folder, lambda text: print(text, flush=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{sum(tally.ends.values())} damaged files: {dict(tally.ends)}, {len(tally.faults)} faults")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
