"""Named errors. Every message says what was found, what is allowed and what to do; `exit_code` is what `crm` ends with.

Messages carry names, counts and row numbers, never values of members: they travel into logs and Prefect's database.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CrmError(Exception):
    """Base of all errors that the toolkit raises on purpose; `crm` prints the message and exits with `exit_code`."""

    exit_code = 1


class InputError(CrmError):
    """A file, setting, parameter or name given by a person is wrong; nothing was changed."""

    exit_code = 2


class UnknownName(InputError):
    """A name that is not among the known ones; the message offers the nearest."""


class RunFailed(CrmError):
    """Work that was well asked for did not end well (a failing notebook, a hash that differs, a full disk)."""


def unknown(kind: str, found: str, known: Iterable[str], where: str = "") -> UnknownName:
    """The error for a name that is not known.

    `kind` is the noun ('segment'), `where` the file and line it should be in; the nearest known name is offered.
    """
    names = sorted(known, key=lambda name: (name[:1].isdigit(), name))  # codes last
    place = f" in {where}" if where else ""
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    listed = ", ".join(names[:30]) + (f" … ({len(names)} in all)" if len(names) > 30 else "")
    return UnknownName(f"{kind} '{found}' is not known{place}{hint} known: {listed or 'none'}")
