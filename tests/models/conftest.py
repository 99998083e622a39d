"""Drawn shops that several models are tried on, made once."""

from __future__ import annotations

import pandas as pd
import pytest

from crm_core.workspace import Workspace
from tests.models.drawn_shop import drawn, shop

MEMBERS = 3_000


@pytest.fixture(scope="session")
def rhythms() -> pd.DataFrame:
    """Orders of members who differ in their rate and stop by chance."""
    return drawn(MEMBERS, seed=5)


@pytest.fixture(scope="session")
def rhythm_shop(tmp_path_factory: pytest.TempPathFactory, rhythms: pd.DataFrame) -> Workspace:
    """Their shop."""
    return shop(tmp_path_factory.mktemp("rhythms") / "shop", rhythms)


@pytest.fixture(scope="session")
def mixed_shop(tmp_path_factory: pytest.TempPathFactory, rhythms: pd.DataFrame) -> Workspace:
    """The same orders in another order of rows, with orders of the two months after the day that is asked about."""
    later = rhythms.sample(800, random_state=3)
    later = later.assign(at=later["at"] % 60 + 500)
    return shop(tmp_path_factory.mktemp("mixed") / "shop", pd.concat([rhythms, later], ignore_index=True), shuffle=11)


@pytest.fixture(scope="session")
def noise_shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One rate for all, and nobody ever stops: no history says anything of what comes."""
    orders = drawn(MEMBERS, seed=8, dropout=0.0, mean_gap=90.0, spread=1e6)
    return shop(tmp_path_factory.mktemp("noise") / "shop", orders)
