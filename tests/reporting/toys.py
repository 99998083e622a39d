"""What toy notebooks are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[..., Path]


def code(name: str, source: str, tags: list[str]) -> dict[str, Any]:
    """One code cell."""
    return {
        "cell_type": "code", "id": name, "metadata": {"tags": tags}, "execution_count": None, "outputs": [],
        "source": source,
    }  # fmt: skip
