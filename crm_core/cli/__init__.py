"""The command line `crm`. Heavy imports happen inside the commands, so that `crm --help` answers at once.

`--workspace DIR` and `--json` are taken anywhere on the line. Exit codes: 0 success, 2 bad input (one clear message), 1 failure.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

import typer

from crm_core.cli import campaigns, data, identity, models, people, runs, tags, upkeep
from crm_core.cli.output import fail, options
from crm_core.errors import CrmError

STOPPED = 130  # as shells count a process that Ctrl-C ended

app = typer.Typer(
    name="crm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Member marketing: from shop exports to segments, target lists with a kept control, and honest results.",
    epilog="Every command takes --workspace DIR (default: CRM_WORKSPACE or the repository) and --json.",
)
data.register(app)
runs.register(app)
people.register(app)
tags.register(app)
models.register(app)
app.add_typer(identity.app, name="identity")
app.add_typer(campaigns.app, name="campaign")
upkeep.register(app)


@app.callback()
def everywhere(
    workspace: str = typer.Option("", "--workspace", help="folder that holds data/, reports/ and its own conf/"),
    json: bool = typer.Option(False, "--json", help="one JSON object on stdout; messages go to stderr"),
) -> None:
    """Options of every command; `main` has taken them from the line already."""


def main() -> None:
    """Entry point of `crm`."""
    code = run(sys.argv[1:])
    # deltalake sometimes aborts while the interpreter is taken apart, after everything is safely committed
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Carries out one command line and returns the exit code."""
    os.umask(0o077)
    gc.set_threshold(50_000, 20, 100)  # with the usual 700 a fifth of the time went on looking for garbage
    try:
        rest = options.take(arguments)
        result = app(args=rest, standalone_mode=False)
        if result == STOPPED:  # which is what the library makes of Ctrl-C
            return _stopped()
        return result if isinstance(result, int) else 0
    except CrmError as error:
        return fail(str(error), error.exit_code)
    except ExceptionGroup as group:
        return fail("\n".join(str(error) for error in group.exceptions), 2)
    except typer.Exit as done:
        return int(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except Exception as error:  # noqa: BLE001  never a traceback at the command line
        return _unforeseen(error)


def _stopped() -> int:
    return fail("stopped; nothing unfinished was published", STOPPED)


def _unforeseen(error: Exception) -> int:
    from typer.exceptions import TyperException

    if isinstance(error, RuntimeError) and str(error) == "Query interrupted":  # how the engine says that Ctrl-C was pressed
        return _stopped()
    if isinstance(error, TyperException):  # a wrong command, option or argument
        return fail(f"{getattr(error, 'format_message', lambda: error)()}; see crm --help", 2)
    if os.environ.get("CRM_TRACEBACK") == "1":
        raise error
    if isinstance(error, OSError):
        return fail(f"{error.strerror or type(error).__name__}: {error.filename or ''}", 1)
    # the text of an unforeseen error may hold values of members, so only its kind is shown
    return fail(f"unforeseen {type(error).__name__}; set CRM_TRACEBACK=1 to see where it arose", 1)
