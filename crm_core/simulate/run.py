"""`simulate`: draws a world block by block and writes the shop's exports, the truth, and the answers to sent
lists.

While one block is being drawn, the one before is written by a second thread (Arrow and zlib work outside
Python's lock), so two cores are busy and never more than two blocks are in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from crm_core.errors import InputError, RunFailed, unknown
from crm_core.simulate import raw_small
from crm_core.simulate.answers import Receipts, read_phones
from crm_core.simulate.arrays import HOUR
from crm_core.simulate.blocks import Block, Sent, draw
from crm_core.simulate.catalogue import Catalogue, catalogue
from crm_core.simulate.clock import EPOCH, second_of
from crm_core.simulate.files import RawFiles
from crm_core.simulate.raw_events import event_sheet
from crm_core.simulate.raw_people import audience_sheets, consent_sheet, member_sheet
from crm_core.simulate.raw_trade import SoiledTrade, line_sheet, order_sheet, refund_sheet, soiled
from crm_core.simulate.shapes import SHAPES, ShapeFiles, frames
from crm_core.simulate.truth import Truth
from crm_core.simulate.world import World

Progress = Callable[[int, int], None]
Files = tuple[RawFiles | ShapeFiles, Truth, list[Receipts]]
SAMPLE = "sample"


@dataclass(frozen=True)
class SimulationSummary:
    """What was written: rows per file (without truth/), the folder of receipts where lists were answered, and
    seconds."""

    folder: Path
    members: int
    rows: dict[str, int]
    receipts: tuple[Path, ...]
    seconds: float


def simulate(
    folder: Path,
    members: int = 20_000,
    seed: int = 20261031,
    days: int = 730,
    until: date = date(2026, 10, 31),
    exported_on: date | None = None,
    answered: list[Path] | None = None,
    progress: Progress | None = None,
    *,
    sent_at: datetime | None = None,
    events: float = 1.0,
    shape: str = SAMPLE,
) -> SimulationSummary:
    """Writes the files that a shop would have exported at the end of the local day `exported_on` (default:
    `until`).

    folder       new or empty; gets the raw files, truth/ and, where lists were answered, 短信回执/
    members      1 to 9,999,999; about nine orders and forty events each at the default period
    days         length of the period that ends with the local day `until`
    answered     payload files (CSV with a heading `phone`) that were sent at `sent_at`, shop time; default
                 ten o'clock on the 29th day before `until`. Their responders order once more within 14
                 days, and nothing else changes
    progress     called with (blocks done, blocks in all)
    events       1.0 is the usual number of journey and engagement events, 0.2 a fifth of them
    shape        whose exports the files look like: `sample`, the invented shop's, or one of `SHAPES`

    The same arguments give the same bytes. InputError for arguments out of range, a folder that is not empty,
    or a payload that cannot be read.
    """
    began = time.perf_counter()
    if shape not in (SAMPLE, *SHAPES):
        raise unknown("shape", shape, [SAMPLE, *SHAPES], "crm simulate --shape")
    world = World(members, seed, days, until, exported_on or until, events)
    sent = _sent(world, answered or [], sent_at)
    _take(folder)
    goods = catalogue(world)
    with _disk(folder):
        raw = RawFiles(folder, world.periods) if shape == SAMPLE else ShapeFiles(folder, SHAPES[shape])
        truth = Truth(folder / "truth", world)
        pairs = zip(answered or [], sent, strict=True)
        receipts = [Receipts(folder / "短信回执", path, one) for path, one in pairs]
        if isinstance(raw, RawFiles):
            raw.write(raw_small.product_sheet(world, goods))
            raw.write(raw_small.campaign_sheet(world))
        _draw_and_write(world, goods, sent, (raw, truth, receipts), progress)
        raw.close()
        truth.close(_summary(world, raw))
        paths = tuple(each.close() for each in receipts)
    rows = dict(sorted(raw.rows.items()))
    return SimulationSummary(folder, members, rows, paths, time.perf_counter() - began)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunFailed(f"writing to {folder} stopped: {reason}; what is there is not whole, delete it") from None


def _draw_and_write(world: World, goods: Catalogue, sent: list[Sent], files: Files, progress: Progress | None) -> None:
    """Every block in turn: one is drawn while the one before is written."""
    with ThreadPoolExecutor(max_workers=1) as writer:
        waiting: Future[None] | None = None
        for number in range(world.blocks):
            block = draw(world, goods, number, sent)
            if waiting is not None:
                waiting.result()
            waiting = writer.submit(_write, world, block, goods, *files)
            if progress is not None:
                progress(number + 1, world.blocks)
        if waiting is not None:
            waiting.result()


def _sent(world: World, answered: list[Path], sent_at: datetime | None) -> list[Sent]:
    at = second_of(world.until - timedelta(days=29)) + 10 * HOUR
    if sent_at is not None:
        at = int((sent_at.replace(tzinfo=None) - datetime(EPOCH.year, 1, 1)).total_seconds())
    if answered and not world.clock.start < at < world.clock.end:
        raise InputError(f"the list was sent at {sent_at}, outside the period {world.first_day} to {world.until}")
    return [Sent(read_phones(path), at) for path in answered]


def _take(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; name a new folder for the sample files, or empty this one")
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror}; name another folder") from None


def _write(
    world: World, block: Block, goods: Catalogue, raw: RawFiles | ShapeFiles, truth: Truth, receipts: list[Receipts]
) -> None:
    trades = [soiled(world, block, trade) for trade in block.trades]
    if isinstance(raw, RawFiles):
        _write_sample(world, block, goods, raw, trades)
    else:
        raw.write(frames(world, block, trades, goods))
    for each, found in zip(receipts, block.answers, strict=True):
        each.write(found)
    truth.write(block, trades, goods)


def _write_sample(world: World, block: Block, goods: Catalogue, raw: RawFiles, trades: list[SoiledTrade]) -> None:
    raw.write(member_sheet(world, block))
    raw.write(consent_sheet(world, block))
    for sheet in audience_sheets(world, block):
        raw.write(sheet)
    for trade in trades:
        raw.write(order_sheet(world, block, trade))
        raw.write(line_sheet(world, trade, goods))
        raw.write(refund_sheet(world, block, trade))
    for place in range(len(block.events)):
        raw.write(event_sheet(world, block, place, goods))
    if block.pipeline is not None:
        raw.write(raw_small.opportunity_sheet(world, block, block.pipeline))
        raw.write(raw_small.payment_sheet(world, block.pipeline))


def _summary(world: World, raw: RawFiles | ShapeFiles) -> dict[str, object]:
    return {
        "members": world.members, "seed": world.seed, "days": world.days, "until": str(world.until),
        "exported_on": str(world.exported_on), "events": world.events, "rows": dict(sorted(raw.rows.items())),
        "repeated": dict(sorted(raw.repeated.items())), "refused": dict(sorted(raw.refused.items())),
    }  # fmt: skip
