"""Real `crm` commands in processes of their own, watched, killed and compared: what the soaks of the store share.

A process that has imported everything and opened nothing forks one child per command, so that a trial costs a second and
not five. Never import this in a process that has used an engine: the child would inherit its threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")

import pyarrow.parquet as pq

import tests.ingest.corner_shop as corner_shop
from crm_core import cli
from crm_core.schema import TABLES

KEY = "5a" * 32
TIMEOUT = 300.0
FIRST, SECOND, THIRD, LAST = "订单1.csv", "订单2.csv", "订单3.csv", "订单4.csv"


# -- processes -----------------------------------------------------------------------------------------------


def fork(work: Callable[[], int], log: Path | None = None) -> int:
    """Starts `work` in a child of its own and returns its process id; what it says goes to `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        handle = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.environ["CRM_VAULT_KEY"] = KEY
        code = work()
    except BaseException:  # noqa: BLE001  a child ends here, whatever happened
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def crm(root: Path, *arguments: str, log: Path | None = None) -> int:
    """Starts `crm ARGUMENTS --workspace root`; returns the process id."""
    return fork(lambda: cli.run([*arguments, "--workspace", str(root)]), log)


def ended(pid: int, timeout: float = TIMEOUT) -> int:
    """Waits for a child and returns its exit code, negative where a signal ended it. Kills one that hangs."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"process {pid} did not end in {timeout} s")


def told(work: Callable[[], Any]) -> Any:
    """The JSON value that `work` returns in a child of its own."""
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder) / "answer", Path(folder) / "log"

        def write() -> int:
            answer.write_text(json.dumps(work(), default=str))
            return 0

        code = ended(fork(write, log))
        if code:
            raise RuntimeError(f"a child failed ({code}): {log.read_text()[-2000:]}")
        return json.loads(answer.read_text())


# -- the file system, watched --------------------------------------------------------------------------------


class Watch:
    """inotify over a folder and all below it: how many times a file was made, written, closed, moved or deleted."""

    MASK = 0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200  # modified, closed after writing, moved from, moved to, made, deleted
    IS_FOLDER = 0x40000000

    def __init__(self, root: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.handle = self._libc.inotify_init1(os.O_NONBLOCK)
        self._folders: dict[int, str] = {}
        self.count = 0
        self._add(str(root))

    def _add(self, folder: str) -> None:
        number = self._libc.inotify_add_watch(self.handle, os.fsencode(folder), self.MASK)
        if number < 0:
            return  # gone already
        self._folders[number] = folder
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                self._add(entry.path)

    def wait(self, seconds: float) -> int:
        """Waits at most so long for events; returns how many there were since the beginning."""
        if select.select([self.handle], [], [], max(seconds, 0))[0]:
            data, place = os.read(self.handle, 1 << 16), 0
            while place < len(data):
                number, mask, _, size = struct.unpack_from("iIII", data, place)
                name = os.fsdecode(data[place + 16 : place + 16 + size].rstrip(b"\0"))
                place += 16 + size
                self.count += 1
                if mask & self.IS_FOLDER and mask & 0x180 and number in self._folders:
                    try:
                        self._add(f"{self._folders[number]}/{name}")
                    except OSError:
                        continue
        return self.count

    def close(self) -> None:
        os.close(self.handle)


@dataclass(frozen=True)
class Ended:
    """How a watched command ended: exit code, file events and seconds."""

    code: int
    events: int
    seconds: float


def watched(root: Path, arguments: list[str], event: int = 0, seconds: float = 0, log: Path | None = None) -> Ended:
    """Runs one command over the workspace `root` and kills it at its `event`th file event or after `seconds`."""
    watch, began = Watch(root / "data"), time.monotonic()
    try:
        pid = crm(root, *arguments, log=log)
        killed = False
        while True:
            spent = time.monotonic() - began
            count = watch.wait(0.002)
            if not killed and ((event and count >= event) or (seconds and spent >= seconds) or spent > TIMEOUT):
                os.kill(pid, signal.SIGKILL)
                killed = True
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return Ended(os.waitstatus_to_exitcode(status), watch.count, time.monotonic() - began)
    finally:
        watch.close()


# -- the workspace -------------------------------------------------------------------------------------------


def prepare(folder: Path) -> Path:
    """A workspace with three loads that overlap, files for more, and an own source; returns its folder."""
    root, files = folder / "base", folder / "files"
    (root / "conf" / "sources").mkdir(parents=True)
    (root / "conf" / "sources" / "corner_shop.yml").write_text(corner_shop.EXAMPLE)
    row, write = corner_shop.order, corner_shop.write
    texts = {
        FIRST: [row(number) for number in range(0, 300)],
        SECOND: [row(number, amount="70.00", refunded="1.00") for number in range(200, 400)],
        THIRD: [row(number, paid_at="2026-10-30 10:00:00") for number in range(100, 250)],
        LAST: [
            *(row(number, amount="71.00", ordered_at="2026-09-02 08:00:00") for number in range(150, 700)),
            *(row(number, amount="x") for number in range(3)),
        ],
    }
    for name, rows in texts.items():
        path = write(files / name, corner_shop.text_of(rows))
        if name != LAST and ended(crm(root, "ingest", "corner_shop", str(path), log=folder / "log")):
            raise RuntimeError(f"the base could not be made: {(folder / 'log').read_text()[-2000:]}")
    write(files / "more" / "订单5.csv", corner_shop.text_of(row(number, amount="99.00") for number in range(50, 180)))
    return root


def copied(base: Path, target: Path) -> Path:
    """A copy of a workspace in the place of `target`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base, target)
    return target


def loads_of(root: Path) -> list[str]:
    """Ids of all loads, oldest first."""
    return list(told(lambda: [load["load_id"] for load in _loads(root)]))


def state(root: Path) -> dict[str, Any]:
    """Everything that a workspace holds, without ids and times of its own: lake, vault and ledger, and what is wrong with
    them. Read in a fresh process."""
    return dict(told(lambda: _state(root)))


def load(root: Path, path: Path) -> str:
    """Loads one file in this process, if it was not before, and returns the id of its load."""
    from crm_core.ingest import ingest
    from crm_core.workspace import Workspace

    workspace = Workspace.open(root)
    report = ingest(workspace.config, workspace.lake, workspace.vault, "corner_shop", [path])
    return report.load_id or report.files[0].known_load


def order_numbers(root: Path) -> dict[str, list[int]]:
    """The numbers of `corner_shop.order` that lake and vault hold, where each order has a member of its own."""
    from crm_core.workspace import Workspace

    workspace = Workspace.open(root)
    lake, vault = workspace.lake, workspace.vault
    found = {"current": lake.table("orders"), "versions": lake.table("orders_versions"), "vault": vault.accounts()}
    phones = vault.contacts("phone").inner_join(vault.accounts(), "member_id")
    columns = {"current": "order_id", "versions": "order_id", "vault": "account_id", "phones": "account_id"}
    return {
        name: [int(text[1:]) for text in table[columns[name]].to_pyarrow().to_pylist()]
        for name, table in {**found, "phones": phones}.items()
    }


def _loads(root: Path) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from crm_core.store import Ledger
    from crm_core.store.ledger import Load, LoadFile

    with Ledger.in_folder(root / "data" / "ledger").session() as session:
        files = session.execute(select(LoadFile.load_id, LoadFile.name, LoadFile.sha256, LoadFile.rows_accepted)).all()
        return [
            {
                "load_id": load.load_id, "source": load.source, "state": load.state,
                "rows": [load.rows_read, load.rows_accepted, load.rows_duplicate, load.rows_rejected],
                "covers": load.detail.get("covers_until"),
                "files": sorted(list(row)[1:] for row in files if row[0] == load.load_id),
            }
            for load in session.scalars(select(Load).order_by(Load.started_at))
        ]  # fmt: skip


def _state(root: Path) -> dict[str, Any]:
    import ibis

    from crm_core.store import delta, table_hash
    from crm_core.workspace import Workspace

    workspace = Workspace.open(root)
    lake, vault, loads = workspace.lake, workspace.vault, _loads(root)
    labels = {load["load_id"]: f"{load['source']} {load['files']} {load['state']}" for load in loads}
    names = ibis.memtable({"load_id": [*labels, ""], "_label": [*labels.values(), ""]})

    def hashed(table: Any) -> str:
        known = table.inner_join(names, "load_id") if "load_id" in table.columns else table
        return table_hash(known.drop(*({"load_id", "recorded_at"} & set(known.columns))))

    snapshot = lake.snapshot()
    assert snapshot is not None
    stored = [*TABLES, *(f"{name}_versions" for name in TABLES), "rejects"]
    tables = [name for name in stored if lake.has_rows(name)]
    live = {load["load_id"] for load in loads if load["state"] == "live"}
    paths = [path for name in ("accounts", "contacts") for path in (vault.folder / name).glob("*")]
    held = {path for path in paths if path.suffix != ".parquet" or pq.read_metadata(path).num_rows}
    kinds = ("phone", "email", "name")
    with workspace.ledger.session() as session:
        from sqlalchemy import select

        from crm_core.store.ledger import AuditEntry

        audit = [[row.action, json.dumps(row.detail, sort_keys=True)] for row in session.scalars(select(AuditEntry))]
    return {
        "lake": {name: hashed(lake.table(name)) for name in tables},
        "vault": {
            "accounts": hashed(vault.accounts()), "suppressions": hashed(vault.suppressions().drop("added_at")),
            **{kind: hashed(vault.contacts(kind)) for kind in kinds},
        },
        "ledger": {
            "loads": sorted([{**load, "load_id": ""} for load in loads], key=json.dumps),
            "audit": sorted([action, _without_ids(detail, labels)] for action, detail in audit),
            "covers": snapshot.covers_until, "chain": workspace.ledger.verify_audit() == len(audit),
        },
        "wrong": {
            "commits ahead of the snapshot": [
                folder.name for folder in lake.folders() if delta.current_version(folder) != snapshot.versions.get(folder.name)
            ],
            "files of loads that are not live": sorted(str(path.name) for path in held if path.stem not in live),
            "unreadable": [name for name, version in snapshot.versions.items()
                           for path in delta.files(lake.root / name, version) if not Path(path).exists()],
        },
    }  # fmt: skip


def _without_ids(detail: str, labels: dict[str, str]) -> str:
    # a certificate counts what its own attempt found left to do; what holds afterwards is compared above
    told: dict[str, Any] = json.loads(detail)
    detail = json.dumps({name: what for name, what in told.items() if name not in ("removed", "suppressed")}, sort_keys=True)
    for load_id in labels:
        detail = detail.replace(load_id, "")
    return detail


def sound(found: dict[str, Any]) -> bool:
    """Whether nothing is wrong with a workspace by itself."""
    return not any(found["wrong"].values()) and found["ledger"]["chain"]
