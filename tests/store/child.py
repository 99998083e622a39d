"""A process of its own for the store's tests: `python -m tests.store.child ACTION FOLDER ARGUMENT [HOW MANY AT ONCE]`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from crm_core.store import Ledger, Tables, delta, files, table_hash, writer
from tests.store.lakes import load, open_lake, order, rows_of

VIEWS = ("members", "orders", "paid_orders", "order_lines", "refunds", "products", "interactions", "opportunities")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def then_die(owner: Any, name: str, *, before: bool, call: int = 1) -> None:
    """Kills this process at the `call`th call of a function, before or after its work."""
    real: Callable[..., Any] = getattr(owner, name)
    seen = [0]

    def dying(*given: Any, **named: Any) -> Any:
        seen[0] += 1
        if before and seen[0] == call:
            die()
        result = real(*given, **named)
        if not before and seen[0] == call:
            die()
        return result

    setattr(owner, name, dying)


DEATHS: dict[str, Callable[[], None]] = {
    "before the first commit": lambda: then_die(files, "write", before=True),
    "after the first commit": lambda: then_die(files, "write", before=False),
    "between versions and current": lambda: then_die(writer.Writer, "_commit", before=True, call=2),
    "before anything is synced": lambda: then_die(delta, "make_durable", before=True),
    "between two syncs": lambda: then_die(delta, "make_durable", before=False),
    "inside the publishing transaction": lambda: then_die(Ledger, "audit", before=False),
    "between ledger and marker": lambda: then_die(Path, "write_text", before=True),
    "just after publishing": lambda: then_die(writer.Writer, "publish", before=False),
}


def crash(folder: Path, point: str) -> None:
    """A second load over an existing one that dies at `point`."""
    lake = open_lake(folder)
    with lake.write("dying") as opened:
        DEATHS[point]()
        second = [order("a", "2026-03-05", "2026-06-02"), order("c", "2026-01-05", "2026-06-02")]
        opened.upsert("orders", rows_of("orders", second), load_id="l2")
        opened.upsert("members", rows_of("members", [{"member_id": "m", "_effective_at": datetime(2026, 6, 2)}]), load_id="l2")
        opened.audit("load", "l2", {})


def endless(folder: Path, _: str) -> None:
    """Loads until it is killed, saying how many were published."""
    lake = open_lake(folder)
    for number in range(1000):
        load(lake, f"e{number}", "orders", [order(f"e{number}", f"2026-0{number % 9 + 1}-05", "2026-06-01")])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def hold(folder: Path, seconds: str) -> None:
    """Holds the lease for a while and publishes one load."""
    lake = open_lake(folder)
    with lake.write("holding") as opened:
        opened.upsert("orders", rows_of("orders", [order(str(os.getpid()), "2026-01-05", "2026-06-01")]), load_id="h")
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(float(seconds))


def audit(_: Path, url: str) -> None:
    """Forty audit lines, each in its own transaction, with the lease taken now and then."""
    ledger = Ledger(url)
    for number in range(40):
        with ledger.transaction() as session:
            ledger.audit(session, "test", f"{os.getpid()}:{number}", {"n": number}, "child")


def fences(_: Path, url: str) -> None:
    """Takes and gives back the writer lease ten times, printing each fencing number."""
    from crm_core.store import lease

    ledger = Ledger(url)
    for _number in range(10):
        fence = lease.acquire(ledger, "test", wait_seconds=60)
        sys.stdout.write(f"{fence}\n")
        lease.release(ledger, fence)


def as_nobody(folder: Path, action: str) -> None:
    """Tries to write a lake that belongs to someone else; prints the error."""
    from crm_core.errors import RunFailed

    with tempfile.TemporaryDirectory() as warm:  # loads every module while the interpreter's own files may be read
        load(open_lake(Path(warm)), "l1", "orders", [])
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        if action == "ledger":
            Ledger.in_folder(folder / "ledger").newest_snapshot()  # reading is allowed
        if action == "new ledger":
            Ledger.in_folder(folder / "lake" / "ledger")
        else:
            load(open_lake(folder), "l2", "orders", [order("b", "2026-01-05", "2026-06-02")])
    except RunFailed as error:
        sys.stdout.write(str(error))


def views(folder: Path, day: str) -> None:
    """Hashes of all views as of a day in Shanghai."""
    lake = open_lake(folder)
    tables = Tables(lake, lake.snapshot(), date.fromisoformat(day), ZoneInfo("Asia/Shanghai"))
    for name in VIEWS:
        sys.stdout.write(f"{name} {table_hash(getattr(tables, name))}\n")


def at_once(times: int, work: Callable[[], None]) -> int:
    """Does `work` in so many forks of this process; returns 0 when all ended well."""
    pids = []
    for _ in range(times):
        pids.append(os.fork())
        if not pids[-1]:
            code = 1
            try:
                work()
                sys.stdout.flush()
                code = 0
            except BaseException:  # noqa: BLE001  a child ends here, whatever happened
                traceback.print_exc()
            finally:
                os._exit(code)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in pids)


if __name__ == "__main__":
    action, folder = sys.argv[1], Path(sys.argv[2])
    actions = {each.__name__: each for each in (crash, endless, hold, audit, fences, as_nobody, views)}
    if len(sys.argv) > 4:
        raise SystemExit(at_once(int(sys.argv[4]), lambda: actions[action](folder, sys.argv[3])))
    actions[action](folder, sys.argv[3])
