"""The command line: every command is one short function that calls the library; only this layer prints.

Results go to standard output, everything else to standard error. Exit status: 0 done, 1 failed work, 2 wrong input
(recipe, data, arguments), 130 interrupted (what was done is kept, and the same command goes on from there).

Example:
    tunelet run emotion-quick
    tunelet predict tunelet-runs/emotion-quick-.../runs/.../adapter "i could not be happier"
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.markup import escape

from tunelet import __version__
from tunelet.base.allocator import keep_freed_memory
from tunelet.base.errors import FAILED, INTERRUPTED, WRONG_INPUT, TuneletError
from tunelet.cli import bench, check, predict, rescore, run, show, understand

app = typer.Typer(
    name="tunelet",
    help="Low-rank adaptation of pretrained models to language understanding: from data to a report in one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("check")(check.check)
app.command("predict")(predict.predict)
app.command("rescore")(rescore.rescore)
app.command("understand")(understand.understand)
app.command("report")(show.report)
app.command("recipes")(show.recipes)
app.command("bench")(bench.bench)
app.command("doctor")(show.doctor)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"tunelet {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit status.
    """
    console = Console(stderr=True)
    try:
        status = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except TuneletError as error:
        console.print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        return error.exit_status
    except KeyboardInterrupt:
        status = INTERRUPTED  # as typer returns it by itself
    except BrokenPipeError:
        return FAILED
    except SystemExit:  # typer's way out when the reader of our output went away, as `| head` does
        return FAILED
    except OSError as error:
        console.print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        return FAILED
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own errors: wrong arguments
            if error.format_message():  # without arguments the help is the message
                console.print(f"[bold red]error[/] {escape(error.format_message())}", soft_wrap=True, highlight=False)
            return WRONG_INPUT
        if not isinstance(error.__cause__, KeyboardInterrupt):  # older typers wrap it
            raise
        status = INTERRUPTED
    if status == INTERRUPTED:
        console.print("[bold yellow]interrupted[/]")
    return status if isinstance(status, int) else 0


def entry() -> None:
    """Entry point of the installed script."""
    keep_freed_memory()
    sys.exit(main())
