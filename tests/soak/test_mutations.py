"""A short slice of the mutation soak over all presets; `make soak` damages ten thousand files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.mutations import run


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_damaged_files_of_every_preset_end_in_a_true_account_or_one_clear_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_VAULT_KEY", "5a" * 32)
    tally = run(300, 1, tmp_path)
    assert tally.faults == []
    assert {"refused", "partly", "whole"} <= tally.ends.keys(), "some are refused, some lose rows, some are whole"
