"""Bytes to UTF-8 piece by piece: the same text and the same errors as Python's codec over the whole."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.ingest import transcode

PIECES = ["a,b", "北京", "𠮷", "ü€", "1380013", "\r\n", "\n", "\r", '"', " ", "\n\n"]
WRONG = [b"\xff", b"\x81", b"\xb1\n", b"\x84\x31\xa4"]


def reference(content: bytes, encoding: str) -> str:
    """What the codec makes of all bytes at once, line ends alike; the reason where it cannot."""
    try:
        return re.sub("\r\n|\r", "\n", content.decode(encoding))
    except UnicodeDecodeError as error:
        return f"error: {error.reason}"


def in_pieces(path: Path, start: int, encoding: str) -> str:
    target = io.BytesIO()
    try:
        blank = transcode.transcode_file(path, start, target, encoding, path.with_name("part"))
    except UnicodeDecodeError as error:
        return f"error: {error.reason}"
    text = target.getvalue().decode()
    assert blank == ("\n\n" in text or text.startswith("\n"))
    return text


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcode, "WORTH_A_PROCESS", 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.mark.usefixtures("small_pieces")
def test_pieces_give_what_the_codec_gives(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = b"\n".join(("x" * 9 + text).encode("gb18030") for text in PIECES)
    cases = [whole, *(whole[: 40 * place] + wrong + whole[40 * place :] for place in range(3) for wrong in WRONG)]
    for content in [*cases, b"\n" * 50, whole.replace(b"\n", b"\r"), whole + b"\x81"]:
        path.write_bytes(content)
        assert in_pieces(path, 0, "gb18030") == reference(content, "gb18030"), content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("small_pieces")
@given(st.lists(st.sampled_from([*(piece.encode("gb18030") for piece in PIECES * 4), *WRONG]), max_size=30))
@settings(max_examples=25, deadline=None)
def test_pieces_of_any_text_give_what_the_codec_gives(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("pieces") / "a"
    path.write_bytes(content := b"head\n" + b"".join(parts))
    assert in_pieces(path, 5, "gb18030") == reference(content[5:], "gb18030")


@given(
    st.lists(st.sampled_from([*PIECES, "\ufeff"]), max_size=30),
    st.sampled_from(["utf-8", "gb18030", "utf-16", "cp1252"]),
    st.integers(1, 9),
    st.sampled_from([b"", b"", b"\xff", b"\xe5", b"\x80"]),
)
@settings(max_examples=300, deadline=None)
def test_chunks_may_end_anywhere(parts: list[str], encoding: str, chunk: int, wrong: bytes) -> None:
    content = "".join(parts).encode(encoding, "ignore") + wrong
    target = io.BytesIO()
    old, transcode.CHUNK = transcode.CHUNK, chunk
    try:
        transcode.transcode(io.BytesIO(content), target, encoding)
        found = target.getvalue().decode()
    except UnicodeDecodeError as error:
        found = f"error: {error.reason}"
    finally:
        transcode.CHUNK = old
    assert found == reference(content, encoding)


def test_a_nul_in_any_piece_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcode, "WORTH_A_PROCESS", 8)
    path = tmp_path / "a"
    for place in (0, 90):
        lines = [b"0123456789"] * 10
        lines[place // 10] = b"012\x006789"
        path.write_bytes(b"\n".join(lines))
        with pytest.raises(transcode.NulBytes):
            transcode.transcode_file(path, 0, io.BytesIO(), "gb18030", tmp_path / "part")


def test_a_process_that_dies_is_no_end_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcode, "WORTH_A_PROCESS", 8)
    monkeypatch.setattr(transcode.sys, "executable", "/bin/false")
    (tmp_path / "a").write_bytes(b"0123456789\n" * 10)
    with pytest.raises(OSError, match="ended before its time"):
        transcode.transcode_file(tmp_path / "a", 0, io.BytesIO(), "gb18030", tmp_path / "part")
