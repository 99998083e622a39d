"""The process that kernels are forked from: it imports the heavy modules once and then answers 'fork a
kernel' requests.

`multiprocessing`'s own forkserver is not used because its children import the caller's `__main__` again (a
script without a main guard would run twice, a console script would pay for the command line in every
kernel) and because it keeps the environment of its own start. This server knows nothing but: fork, put the
child in a session of its own, run IPKernelApp, say how it ended. It imports and nothing else before it
forks: a thread or a connection would not survive a fork.

Protocol: one JSON object a line over a socket pair. Asked: `{"id", "argv", "env", "cwd", "log"}`; answered:
`{"id", "pid"}`, and later `{"pid", "code"}` when that child has ended. When the asking side closes the
socket, the children are killed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

PRELOAD = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "IPython.core.completer",
    "comm",
    "psutil",
    "numpy",
    "pandas",
    "pyarrow",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "duckdb",
    "ibis",
    "ibis.backends.duckdb",
    "sqlglot.dialects.duckdb",
    "sqlalchemy",
    "sqlalchemy.dialects.sqlite",
    "alembic",
    "deltalake",
    "pydantic",
    "ruamel.yaml",
    "altair",
    "jsonschema",
    "referencing",
    "rpds",
    "jinja2",
    "scipy.stats",
    "tea_tasting",
    "crm_core",
    "crm_core.config",
    "crm_core.schema",
    "crm_core.store",
    "crm_core.measures",
    "crm_core.segments",
    "crm_core.tags",
    "crm_core.campaigns",
    "crm_core.ingest",
    "crm_core.reporting",
    "crm_core.reporting.views",
    "crm_core.workspace",
)


def preload(names: Sequence[str]) -> list[str]:
    """Import what can be imported; returns the names that could not. A missing optional package is no
    reason to fail: the notebook that needs it will say so itself."""
    missing = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - whatever an import raises
            missing.append(name)
    return missing


def serve(control: socket.socket) -> None:
    """Answer requests until the other side closes; runs in the main thread of a process made for it."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the asking process, which then closes the socket
    waiting = selectors.DefaultSelector()
    waiting.register(control, selectors.EVENT_READ)
    waiting.register(wake_read, selectors.EVENT_READ)
    children: set[int] = set()
    buffer = b""
    while True:
        ready = {key.fileobj for key, _ in waiting.select()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(control, children)
        if control in ready:
            chunk = control.recv(1 << 20)
            if not chunk:
                _kill(children)
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                request = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _become_kernel(request, [control.fileno(), wake_read, wake_write])
                children.add(pid)
                _send(control, {"id": request["id"], "pid": pid})


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        control.sendall(json.dumps(message).encode() + b"\n")


def _reap(control: socket.socket, children: set[int]) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            children.discard(pid)
            _send(control, {"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _kill(children: set[int]) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        # a child that was forked a moment ago does not lead its group yet; not reaped, its number is still its own
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _become_kernel(request: dict[str, Any], inherited: Sequence[int]) -> None:
    """Turn this fork into what a freshly started `python -m ipykernel_launcher` would be; never returns."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor in inherited:
            os.close(descriptor)
        _redirect(request["log"])
        os.environ.clear()
        os.environ.update(request["env"])
        os.environ["JPY_PARENT_PID"] = str(os.getppid())  # the kernel ends itself when this server is gone
        time.tzset()
        if request["cwd"]:
            os.chdir(request["cwd"])
        _reseed()
        sys.argv = ["ipykernel_launcher", *request["argv"]]
        from ipykernel.kernelapp import IPKernelApp

        app = IPKernelApp.instance()
        app.initialize(request["argv"])
        app.start()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of this process
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)


def _reseed() -> None:
    # Forks would otherwise all draw the same 'random' numbers.
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def main() -> None:
    """`python -m crm_core.reporting.forkserver FD`: preload, report what is missing, serve on the inherited
    socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    # A report needs no debugger; ipykernel imports debugpy (0.6 s in every kernel) unless it is not to be
    # had.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    missing = preload(sys.argv[2:] or PRELOAD)
    gc.collect()
    gc.freeze()  # the collector must not touch (and so copy) pages that the forks share
    gc.set_threshold(50_000, 20, 100)  # with the usual 700 a fifth of the time went on looking for garbage
    _send(control, {"ready": True, "missing": missing})
    serve(control)
    os._exit(0)  # nothing to tidy, and the interpreter's own end takes a second with this many modules


if __name__ == "__main__":
    main()
