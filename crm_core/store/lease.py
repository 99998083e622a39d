"""The one writer lease: whoever holds it may commit to the lake; readers need none.

It lives in the ledger with a fencing number. A holder that died on this machine (kill -9, power) is noticed by its
process id and start time, one on another machine by the lease's expiry.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.orm import Session

from crm_core.errors import RunFailed
from crm_core.store import processes
from crm_core.store.ledger import Lease, Ledger, now

_HELD: set[tuple[str, int]] = set()  # by this process; a lease that could not be given back (full disk) is not among them
NAME = "writer"
LENGTH = timedelta(hours=1)
WAIT_SECONDS = 600.0


def acquire(ledger: Ledger, purpose: str, wait_seconds: float = WAIT_SECONDS) -> int:
    """Takes the lease and returns its fencing number; waits while a live process holds it.

    Raises RunFailed naming the holder when it is not free in time.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        with ledger.transaction() as session:
            lease = session.get(Lease, NAME)
            if lease is None:
                lease = Lease(name=NAME, owner="", purpose="", expires_at=now(), fence=0)
                session.add(lease)
            free = not lease.owner or _is_over(lease, ledger)
            if free:
                lease.owner, lease.purpose, lease.expires_at = _me(), purpose, now() + LENGTH
                lease.fence += 1
                _HELD.add(_key(ledger, lease.fence))  # before others can read it, or a thread would think it was lost
            fence = lease.fence
            holder = "" if free else f"{lease.purpose} (process {lease.owner.split(':')[1]})"
        if free:
            return fence
        if time.monotonic() > deadline:
            raise RunFailed(f"the lake is being written by {holder}; try again when that has ended")
        time.sleep(0.1)


def renew(ledger: Ledger, fence: int) -> None:
    """Prolongs the lease. Raises RunFailed when another process has taken it."""
    with ledger.transaction() as session:
        check(session, fence).expires_at = now() + LENGTH


def check(session: Session, fence: int) -> Lease:
    """The lease, if it still is the one numbered `fence`. Raises RunFailed when another process has taken it."""
    lease = session.get(Lease, NAME)
    if lease is None or lease.fence != fence:
        raise RunFailed("another process took over writing the lake; nothing of this one was published, run it again")
    return lease


def is_ours(ledger: Ledger, fence: int) -> bool:
    """Whether no other process has taken the lease since."""
    with ledger.session() as session:
        lease = session.get(Lease, NAME)
        return lease is not None and lease.fence == fence


def release(ledger: Ledger, fence: int) -> None:
    """Gives the lease back, if it still is ours. Where the ledger cannot be written, the next to ask sees that it is free."""
    _HELD.discard(_key(ledger, fence))
    with suppress(RunFailed), ledger.transaction() as session:
        lease = session.get(Lease, NAME)
        if lease is not None and lease.fence == fence:
            lease.owner = ""


def _me() -> str:
    return f"{socket.gethostname()}:{processes.this_process()}"


def _key(ledger: Ledger, fence: int) -> tuple[str, int]:
    return str(ledger.engine.url), fence


def _is_over(lease: Lease, ledger: Ledger) -> bool:
    host, _, process = lease.owner.partition(":")
    if lease.owner == _me():
        return _key(ledger, lease.fence) not in _HELD
    if host == socket.gethostname():
        return not processes.is_running(process)
    return lease.expires_at < now()
