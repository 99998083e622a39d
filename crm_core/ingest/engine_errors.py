"""Errors of the engine as ours. Their texts may quote values, so only the kind is passed on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from pyarrow import ArrowException

from crm_core.errors import InputError, RunFailed


@contextmanager
def engine_errors(name: str) -> Iterator[None]:
    """Turns the engine's errors into ours. Their texts may quote values, so only the kind is passed on."""
    try:
        yield
    except (duckdb.Error, ArrowException) as error:
        text = str(error).lower()
        if isinstance(error, duckdb.OutOfMemoryException) or "no space left" in text or "max_temp_directory" in text:
            raise RunFailed(
                f"{name} could not be loaded: memory or disk is full; nothing was changed "
                "(engine.memory_limit and engine.spill_limit in conf/project.yml say how much may be used)"
            ) from None
        if "permission denied" in text:
            raise RunFailed(f"{name} could not be loaded: no permission to write the spill folder") from None
        kind = type(error).__name__
        if isinstance(error, duckdb.BinderException | duckdb.ParserException | duckdb.CatalogException):
            raise RunFailed(f"{name} could not be loaded ({kind}); this is a fault of the program. Nothing was changed") from None
        raise InputError(f"{name} cannot be read through to its end ({kind}); it is damaged: export it again") from None
