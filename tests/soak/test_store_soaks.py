"""Short slices of the soaks of the store: kills and pairs of real processes (`make soak` runs them in full)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.require import need

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def soak(name: str, *options: str) -> dict[str, Any]:
    """What a soak prints; its processes begin without an engine, hence a process of its own."""
    command = [sys.executable, "-m", f"tests.soak.{name}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(900)
def test_a_command_killed_at_eight_points_and_given_again_ends_as_if_it_had_never_been_killed() -> None:
    found = soak("kills", "--points", "8", "--commands", "ingest,undo,erase,compact", "--seed", "7")
    assert found["held"] == 8, found
    assert sum(each["killed"] for each in found["commands"].values()) >= 5, "kills that come too late prove nothing"


@pytest.mark.timeout(900)
def test_two_commands_at_once_end_as_one_after_the_other_and_a_reader_sees_one_snapshot() -> None:
    found = soak("pairs", "--rounds", "1", "--only", "a load and an undo,the same file twice,a reader")
    assert found == {"a load and an undo": [], "the same file twice": [], "a reader": []}


@pytest.mark.timeout(900)
def test_nothing_that_was_acknowledged_is_lost_when_the_power_is_cut_and_all_of_it_may_be_without_fsync() -> None:
    found = soak("power_cut", "--cuts", "2", "--control", "1", "--seed", "5")
    need("skipped" not in found, f"way to cut the power: {found.get('skipped')}")
    assert found["synced"]["failed"] == [] and found["synced"]["acknowledged"] >= 2
    assert found["never synced"]["failed"], "a cut that loses nothing without fsync proves nothing with it"
