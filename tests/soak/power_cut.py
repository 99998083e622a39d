"""The power cut: loads are acknowledged on a file system of its own, and what the disk holds at some moment is mounted anew.

    python -m tests.soak.power_cut --cuts 50 [--control 3] [--seed 1]        (as root, where loop devices can be mounted)

The disk is an ext4 image behind a loop device; what was not synced is not in it. For a cut the writing process is stopped,
the image is copied, and copied once more should the kernel have written meanwhile. Every copy must mount, hold every
acknowledged load in lake, vault and ledger, be readable to the last file, and take one more load. `--control` cuts the
power of loads whose fsync does nothing: there something must be lost, or the cuts would prove nothing.
Prints one JSON object; ends with 1 when a cut did not hold, with 77 when nothing can be mounted here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.soak import harness

IMAGE_BYTES = 96 * 2**20
LOADS, ROWS = 400, 20
UNDO_EVERY = 7  # each seventh load is taken back again
CANNOT = 77


def run(*command: object) -> None:
    """Runs a program; CalledProcessError where it fails."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """`image` mounted at `place`, as after a start of the machine: the journal is replayed."""
    place.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        for _ in range(50):  # a child that was just killed may hold it for a moment
            if not subprocess.run(["umount", str(place)], capture_output=True).returncode:
                break
            time.sleep(0.1)
        else:
            run("umount", "-l", place)


def write_files(files: Path) -> None:
    """One small file for each load; its orders, members and phones are its own."""
    for number in range(LOADS):
        first = number * ROWS
        rows = [
            harness.corner_shop.order(at, member_no=f"M{at}", mobile=f"138{at:08}", refunded="1.00" if at % 5 == 0 else "")
            for at in range(first, first + ROWS)
        ]
        harness.corner_shop.write(files / f"订单_{number}.csv", harness.corner_shop.text_of(rows))


def keep_loading(root: Path, files: Path, acknowledged: Path, synced: bool) -> int:
    """Loads one file after the other from the first that was not acknowledged, takes some back, and notes each once its
    command has ended well."""
    first = 1 + max((int(line.split()[1]) for line in acknowledged.read_text().splitlines()), default=-1)
    if not synced:
        os.fsync = lambda _: None
    for number in range(first, LOADS):
        load_id = harness.load(root, files / f"订单_{number}.csv")
        with acknowledged.open("a") as log:
            log.write(f"loaded {number}\n")
        if number % UNDO_EVERY == 3:
            if harness.cli.run(["undo", load_id, "--workspace", str(root)]):
                return 1
            with acknowledged.open("a") as log:
                log.write(f"undone {number}\n")
    return 0


def cut(pid: int, image: Path, copy: Path, device: Path, acknowledged: Path) -> list[str]:
    """Copies what the disk holds at this moment and ends the process; returns what was acknowledged by then."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)
        said = acknowledged.read_text().splitlines()
        for _ in range(20):
            before = (device / "stat").read_text()
            shutil.copyfile(image, copy)
            if (device / "stat").read_text().split()[4:7] == before.split()[4:7]:
                return said
        raise RuntimeError("the disk was never still")
    finally:
        os.kill(pid, signal.SIGKILL)  # its lease must not seem to be held by a living process
        os.waitpid(pid, 0)


def judged(root: Path, acknowledged: list[str], files: Path) -> list[str]:
    """What is wrong with a workspace after the power cut."""
    loaded = {int(line.split()[1]) for line in acknowledged if line.startswith("loaded")}
    undone = {int(line.split()[1]) for line in acknowledged if line.startswith("undone")}
    # what may be either way: the one that was being loaded, or being taken back
    open_ones = {max(loaded, default=-1) + 1} | {load for load in loaded - undone if load % UNDO_EVERY == 3}
    wanted = {at for load in loaded - undone - open_ones for at in range(load * ROWS, (load + 1) * ROWS)}
    may = wanted | {at for load in open_ones - undone for at in range(load * ROWS, (load + 1) * ROWS)}
    wrong = []
    try:
        for name, held in harness.told(lambda: harness.order_numbers(root)).items():
            if not wanted <= set(held) <= may or len(held) != len(set(held)):
                wrong.append(f"{name}: {len(wanted - set(held))} lost, {len(set(held) - may)} too many of {len(held)}")
        left = LOADS - 1
        if code := harness.ended(harness.crm(root, "ingest", "corner_shop", str(files / f"订单_{left}.csv"))):
            wrong.append(f"the next load ended with {code}")
        if not harness.sound(harness.state(root)):
            wrong.append("not sound after the next load")
    except RuntimeError as error:
        wrong.append(f"unreadable: {str(error)[-300:]}")
    return wrong


def soak(cuts: int, seed: int, synced: bool = True) -> dict[str, Any]:
    """Cuts the power so often while loads are acknowledged; what did not hold."""
    rng, folder = random.Random(seed), Path(tempfile.mkdtemp(prefix="crm-cut-"))
    image, acknowledged, files = folder / "image", folder / "acknowledged", folder / "files"
    failed: list[str] = []
    most = 0
    try:
        write_files(files)
        with image.open("wb") as handle:
            handle.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", image)
        left = cuts
        with mounted(image, folder / "disk") as disk:
            device = Path("/sys/dev/block") / _device(disk)
            root = disk / "shop"
            (root / "conf" / "sources").mkdir(parents=True)
            (root / "conf" / "sources" / "corner_shop.yml").write_text(harness.corner_shop.EXAMPLE)
            (root / "data").mkdir()
            os.sync()
            acknowledged.touch()
            while left:
                pid = harness.fork(lambda: keep_loading(root, files, acknowledged, synced), folder / "log")
                known = len(acknowledged.read_text().splitlines())
                until = time.monotonic() + rng.uniform(0.5, 6.0)
                while time.monotonic() < until or len(acknowledged.read_text().splitlines()) == known:
                    time.sleep(0.01)
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        raise RuntimeError(f"loading ended by itself: {(folder / 'log').read_text()[-500:]}")
                said = cut(pid, image, folder / "copy", device, acknowledged)
                with mounted(folder / "copy", folder / "after") as after:
                    wrong = judged(after / "shop", said, files)
                most, left = max(most, len(said)), left - 1
                print(f"cut {cuts - left} of {cuts} after {len(said)} acknowledged: {wrong or 'held'}", file=sys.stderr, flush=True)
                failed += [f"cut {cuts - left} after {len(said)} acknowledged: {what}" for what in wrong]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"cuts": cuts, "acknowledged": most, "failed": failed}


def _device(disk: Path) -> str:
    number = disk.stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def possible() -> bool:
    """Whether this machine lets us mount an image."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        return False
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "image"
        image.write_bytes(b"")
        os.truncate(image, 8 * 2**20)
        try:
            run("mkfs.ext4", "-q", image)
            with mounted(image, Path(name) / "disk"):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False


def main() -> int:
    """Returns 0 when every cut held and the control lost something."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--control", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if not possible():
        print(json.dumps({"skipped": "needs root, mkfs.ext4 and loop devices"}))
        return CANNOT
    found = {"synced": soak(asked.cuts, asked.seed)}
    if asked.control:
        found["never synced"] = soak(asked.control, asked.seed, synced=False)
    print(json.dumps(found, ensure_ascii=False, indent=2))
    lost = not asked.control or found["never synced"]["failed"]
    return 0 if lost and not found["synced"]["failed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
