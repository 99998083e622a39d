"""A copy made by threads, piece by piece, beside the one made in a stream."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.ingest import plain_copy, transcode

PARTS = ["a,b", "北京", "𠮷", "ü€", "\n", '"', "\n\n", " "]
OTHER = [b"\xff", b"\xe5\x8c", b"\x80\x80\x80\x80", b"\r", b"\r\n", b"\0"]


def streamed(content: bytes) -> tuple[bytes, bool]:
    target = io.BytesIO()
    blank = transcode.transcode(io.BytesIO(content), target, "utf-8")
    return target.getvalue(), blank


@pytest.fixture(params=[1, 2, 3, 7, 64])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_copy, "PIECE", request.param)


@pytest.mark.usefixtures("piece")
@given(st.lists(st.sampled_from([text.encode() for text in PARTS]), max_size=20))
@settings(max_examples=40, deadline=None)
def test_it_writes_what_the_stream_writes(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    folder, content = tmp_path_factory.mktemp("plain"), b"".join(parts)
    (folder / "a").write_bytes("头,b\n".encode() + content)
    blank = plain_copy.plain_copy(folder / "a", len("头,b\n".encode()), folder / "b")
    assert ((folder / "b").read_bytes(), blank) == streamed(content)


@pytest.mark.usefixtures("piece")
@given(st.lists(st.sampled_from([text.encode() for text in PARTS]), max_size=9), st.sampled_from(OTHER), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_what_is_not_plain_is_left_to_the_stream(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], other: bytes, place: int
) -> None:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "a").write_bytes(b"".join([*parts[:place], other, *parts[place:]]))
    assert plain_copy.plain_copy(folder / "a", 0, folder / "b") is None


@pytest.mark.parametrize("way", ["refused", "nothing", "a part, then refused", "unknown"])
def test_where_the_system_does_not_copy_from_file_to_file_the_bytes_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    real, asked = os.copy_file_range, []

    def copy_file_range(source: int, out: int, count: int, begin: int, place: int) -> int:
        asked.append(count)
        if way == "nothing":
            return 0
        if way == "refused" or len(asked) > 1:
            raise OSError(errno.EXDEV, "another file system")
        return real(source, out, 3, begin, place)

    if way == "unknown":
        monkeypatch.delattr(os, "copy_file_range")
    else:
        monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    (tmp_path / "a").write_bytes("头,b\n1,北京\n".encode())
    assert plain_copy.plain_copy(tmp_path / "a", len("头,b\n".encode()), tmp_path / "b") is False
    assert (tmp_path / "b").read_bytes() == "1,北京\n".encode()
    assert bool(asked) == (way != "unknown")


def test_a_file_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\n")
    with pytest.raises(OSError, match="No space left"):
        plain_copy.plain_copy(tmp_path / "a", 0, Path("/dev/full"))
