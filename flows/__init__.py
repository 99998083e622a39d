"""Prefect around functions of `crm_core`: the nightly flow, a server of its own on loopback, and the flow's
schedule.

Importing this package prepares the process for Prefect, which reads its environment once, when it is imported
itself: no analytics, nothing of it on the terminal (what went on is in its API and in our ledger), and no IRI
grammar, which jsonschema would compile for 1.5 seconds in every process and nobody here asks for.
"""

import logging
import os
import sys

SERVED = "CRM_SERVED"  # set for the runs of `crm serve`, whose lines are its only sign of life

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
if "rfc3987_syntax" not in sys.modules:
    # None makes the import an ImportError, which jsonschema takes for 'not installed'
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]


def lines_to_stderr() -> logging.Logger:
    """The logger of our own lines; they go to stderr under `crm serve` and nowhere else."""
    lines = logging.getLogger("crm")
    lines.propagate = False
    handler: logging.Handler = logging.NullHandler()
    if os.environ.get(SERVED):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        lines.setLevel(logging.INFO)
    lines.handlers = [handler]
    return lines
