"""Notebooks into reports: run them strictly and fast, draw what they show, publish pages that hold nothing
live.

`run_notebooks` and `run_notebook` execute; `write_run` and `write_index` publish around them; `views` has
what each notebook shows.
"""

from crm_core.reporting.parameters import assign, declared
from crm_core.reporting.publish import RunFacts, new_run_id, write_index, write_run
from crm_core.reporting.runner import Job, NotebookResult, run_notebook, run_notebooks, warm

__all__ = [
    "Job",
    "NotebookResult",
    "RunFacts",
    "assign",
    "declared",
    "new_run_id",
    "run_notebook",
    "run_notebooks",
    "warm",
    "write_index",
    "write_run",
]
