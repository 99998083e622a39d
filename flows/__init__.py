"""Prefect around functions of `crm_core`: the nightly flow, a server of its own on loopback, and the flow's schedule.

Importing this package prepares the process for Prefect, which reads its environment once, when it is imported itself: no
analytics, nothing of it on the terminal (what went on is in its API and in our ledger), and no IRI grammar, which
jsonschema would compile for 1.5 seconds in every process and nobody here asks for.
"""

import os
import sys

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
if "rfc3987_syntax" not in sys.modules:
    # None makes the import an ImportError, which jsonschema takes for 'not installed' (an optional format checker)
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
