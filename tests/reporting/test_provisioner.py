"""Kernels are forks of one warm process, each behind sockets of its own; without fork the stock provisioner
does it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from crm_core.reporting import provisioner, run_notebook
from crm_core.reporting.provisioner import ForkServer
from tests.reporting.toys import Make

pytestmark = pytest.mark.skipif(not provisioner.forks(), reason="this system cannot fork")
LIGHT = ("ipykernel.kernelapp",)


def test_a_kernel_is_a_child_of_the_fork_server_and_finds_its_modules_imported(make_notebook: Make, tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = f"import os, sys\nopen('{note}', 'w').write(f\"{{os.getppid()}} {{'ibis' in sys.modules}}\")"
    assert run_notebook(make_notebook("who", code), out_dir=tmp_path / "out").ok
    server = provisioner.server()
    assert server is not None and note.read_text() == f"{server._process.pid} True"


def test_the_modules_of_the_project_are_all_preloaded() -> None:
    server = provisioner.server()
    assert server is not None and server.wait_ready() and server.missing == []


def test_kernels_talk_over_ipc_in_a_private_folder_that_is_gone_afterwards(make_notebook: Make, tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = (
        "import json, os, pathlib\nfrom ipykernel import get_connection_file\n"
        "file = pathlib.Path(get_connection_file())\ninfo = json.loads(file.read_text())\n"
        "mode = f'{file.parent.stat().st_mode & 0o777:o}'\n"
        f"open('{note}', 'w').write(' '.join([info['transport'], str(file.parent), mode]))"
    )
    assert run_notebook(make_notebook("ipc", code), out_dir=tmp_path / "out").ok
    transport, folder, mode = note.read_text().split()
    assert (transport, mode) == ("ipc", "700") and not Path(folder).exists()


def test_two_kernels_draw_different_random_numbers(make_notebook: Make, tmp_path: Path) -> None:
    seen = set()
    for name in ("a", "b"):
        note = tmp_path / name
        code = f"import random, numpy\nopen('{note}', 'w').write(f'{{random.random()}} {{numpy.random.rand()}}')"
        assert run_notebook(make_notebook(name, code), out_dir=tmp_path / "out").ok
        seen |= set(note.read_text().split())
    assert len(seen) == 4


def test_a_script_without_a_main_guard_runs_once(make_notebook: Make, tmp_path: Path) -> None:
    path, mark = make_notebook("toy", "1"), tmp_path / "mark"
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom crm_core.reporting import run_notebook\n"
        f"open({str(mark)!r}, 'a').write('x')\n"
        f"assert run_notebook(Path({str(path)!r}), out_dir=Path({str(tmp_path / 'out')!r})).ok\n"
    )
    root = str(Path(provisioner.__file__).resolve().parents[2])
    subprocess.run([sys.executable, str(script)], check=True, env={**os.environ, "PYTHONPATH": root}, timeout=120)
    assert mark.read_text() == "x"


def _runs(pid: int) -> bool:
    """Whether the process is there and not a zombie that init has yet to reap."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_when_the_asking_process_goes_the_server_and_its_kernels_go_too(tmp_path: Path) -> None:
    server = ForkServer(LIGHT)
    assert server.wait_ready()
    kernel = server.fork(["-f", str(tmp_path / "c.json")], env=dict(os.environ), cwd=None, log=tmp_path / "log")
    assert kernel.poll() is None
    server.close()
    assert kernel.poll() is not None
    until = time.monotonic() + 30
    while _runs(kernel.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _runs(kernel.pid)


def test_a_broken_server_is_replaced_and_in_the_meantime_the_stock_provisioner_works(
    make_notebook: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioner, "server", lambda: None)
    assert run_notebook(make_notebook("stock", "1"), out_dir=tmp_path / "out").ok
    monkeypatch.undo()
    dead = provisioner.server()
    assert dead is not None
    dead.close()
    assert provisioner.server() is not dead


def test_a_temporary_folder_with_a_long_name_still_gives_short_socket_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = provisioner._short_folder()
    assert folder is not None and len(str(folder)) < provisioner.LONGEST_SOCKET_PATH
    folder.rmdir()
