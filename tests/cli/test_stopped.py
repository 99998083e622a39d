"""Ctrl-C at any moment of a load: one sentence, the code that shells know, nothing left behind; the same command works after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.test_commands import CRM, crm

pytestmark = pytest.mark.slow
SOURCE = """\
source: mine
time_zone: Asia/Shanghai
currency: CNY
feeds:
  orders:
    match: ["orders*.csv"]
    fields:
      order_id: {heading: order_id, filled: true}
      member_no: {heading: member_no, private: true}
      ordered_at: {heading: ordered_at, type: time, filled: true}
      net: {heading: net, type: money, filled: true}
    tables:
      orders:
        columns:
          order_id: order_id
          member_id: account(member_no)
          ordered_at: ordered_at
          gross_amount: net
          discount_amount: 0
          shipping_amount: 0
          net_amount: net
"""
ROWS = 600_000


def test_a_load_that_is_stopped_by_hand_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    rows = (f"O{row},M{row % 1000},2026-01-0{row % 9 + 1} 08:00:00,{row % 97}.00" for row in range(ROWS))
    path.write_text("\n".join(["order_id,member_no,ordered_at,net", *rows]) + "\n")
    other, root = (_workspace(tmp_path / name) for name in ("other", "workspace"))
    began = time.monotonic()
    crm(other, "ingest", "mine", path)
    whole, ended = time.monotonic() - began, []
    for share in (0.15, 0.3, 0.45, 0.6, 0.75):
        process = subprocess.Popen(
            [CRM, "--workspace", root, "ingest", "mine", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("CRM_")},
            # what a shell puts behind `&` ignores it, and so would all that these tests start there
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        time.sleep(whole * share)
        process.send_signal(signal.SIGINT)
        ended.append((process.communicate(timeout=60)[1], process.returncode))
    stopped = ("crm: stopped; nothing unfinished was published\n", 130)
    assert set(ended) <= {stopped, ("", 0)} and ended.count(stopped) >= 3, ended
    assert not list((root / "data/spill").glob("ingest_*"))
    crm(root, "ingest", "mine", path)
    loads = json.loads(crm(root, "loads", "--json").stdout)["loads"]
    assert [load["accepted"] for load in loads] == [ROWS]


def _workspace(root: Path) -> Path:
    (root / "conf/sources").mkdir(parents=True)
    (root / "conf/sources/mine.yml").write_text(SOURCE)
    return root
