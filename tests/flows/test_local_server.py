"""Finding, starting and ending the Prefect server of a workspace."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import psutil
import pytest

from crm_core.errors import InputError, RunFailed
from flows import local_server


@pytest.fixture(autouse=True)
def no_settings_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "user"))


def test_no_server_is_configured_where_there_are_no_settings() -> None:
    assert local_server.configured() == ""


def test_a_configured_server_is_taken_from_the_environment_or_the_active_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "profiles.toml").write_text(
        'active = "shop"\n[profiles.shop]\nPREFECT_API_URL = "http://prefect.example/api"\n[profiles.other]\n'
    )
    assert local_server.configured() == "http://prefect.example/api"
    assert local_server.obtain(tmp_path / "shop").url == "http://prefect.example/api"
    monkeypatch.setenv("PREFECT_PROFILE", "other")
    assert local_server.configured() == ""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert local_server.configured() == "http://127.0.0.1:4200/api"


def test_a_note_of_a_server_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    home = local_server.home_of(tmp_path)
    assert local_server.find(home) is None
    me = psutil.Process()
    for process in (f"{me.pid}:1.00", "999999999:1.00", "nonsense", local_server.process_name(me)):
        note = {"url": "http://127.0.0.1:9/api", "process": process, "password": "crm:x"}
        (home / local_server.NOTE).write_text(json.dumps(note))
        assert local_server.find(home) is None


def test_a_port_that_is_taken_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server((local_server.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 cannot be used: Address already in use"):
            local_server.start(local_server.home_of(tmp_path), port=port)


def test_the_home_of_a_workspace_is_its_owners_alone(tmp_path: Path) -> None:
    assert local_server.home_of(tmp_path).stat().st_mode & 0o777 == 0o700


def test_settings_of_a_users_own_server_do_not_reach_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://elsewhere/prefect")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "true")
    environment = local_server._environment(tmp_path, "crm:secret", scheduling=False)
    assert "PREFECT_API_DATABASE_CONNECTION_URL" not in environment
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith(f"{tmp_path}/prefect.db")
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false" and environment["DO_NOT_TRACK"] == "1"


def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    home = local_server.home_of(tmp_path)
    (home / "prefect.db").write_bytes(b"this is no database" * 100)
    server = local_server.start(home)
    with pytest.raises(RunFailed, match=r"the Prefect server ended with code \d; see .*server\.log"):
        server.wait()
    server.stop()
