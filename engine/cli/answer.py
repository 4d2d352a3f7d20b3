"""What people and programs are shown: tables and values as text, errors as lines, JSON as one object of UTF-8 bytes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.sdk.errors import CrosswalkError, Problem, as_json, nearest

if TYPE_CHECKING:
    from engine.cli.main import Context

INTERRUPTED = 130


def speak_plainly() -> None:
    """A terminal that cannot show a character gets its escape; text is never refused for its encoding."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Text for a terminal: control characters (escape sequences in data) become visible marks."""
    return "".join(one if one.isprintable() or one in "\n\t" else f"\\x{ord(one):02x}" for one in text)


def inline(given: Any, *, width: int = 100) -> str:
    """A value of a record on one line: text in quotes, numbers plain, lists and objects as JSON."""
    from engine.compile.casts import shown

    if isinstance(given, (dict, list)):
        from engine.sdk.record import encode_json

        text = encode_json(given).decode()
        return printable(text if len(text) <= width else text[: width - 1] + "…")
    return "null" if given is None else printable(shown(given))


def plain(given: Any) -> str:
    """A fact for people: text as it is, `—` for nothing."""
    return "—" if given is None else printable(given) if isinstance(given, str) else inline(given)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """Columns for people. In a pipe every row is one line; where a terminal is too narrow, every cell is one."""
    from rich.cells import cell_len

    told = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(head, *told, strict=True)]
    if sys.stdout.isatty() and sum(widths) + 2 * len(head) > shutil.get_terminal_size().columns:
        for row in told:
            click.echo("\n".join(f"{name}: {cell}" for name, cell in zip(head, row, strict=True) if cell))
            click.echo("")
        return
    numbers = set(right)
    for row in [list(head), *told]:
        cells = []
        for name, cell, width in zip(head, row, widths, strict=True):
            gap = " " * (width - cell_len(cell))
            cells.append(gap + cell if name in numbers else cell + gap)
        click.echo("  ".join(cells).rstrip())


def write_json(given: Any) -> None:
    """One JSON object and a line end, in UTF-8 whatever the locale."""
    from engine.sdk.record import encode_json

    click.echo(encode_json(given))


def ended(context: Context, run: Callable[[], Any]) -> int:
    """Run the command line; every error becomes its lines and an exit code, no stack trace without --debug."""
    try:
        result = run()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CrosswalkError as error:
        return report(context, error)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return report(context, CrosswalkError(_misused(error)), 2)
    except (KeyboardInterrupt, click.Abort):
        problem = Problem("X905", "stopped at once", None, "run it again: it goes on from what was committed")
        return report(context, CrosswalkError(problem), INTERRUPTED)
    except BrokenPipeError:
        _close_quietly()
        return 1
    except OSError as error:
        if context.debug:
            raise
        return report(context, CrosswalkError(_refused_by_the_system(error)))
    except Exception as error:
        if context.debug:
            raise
        text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return report(context, CrosswalkError(Problem("X999", f"a fault of crosswalk itself: {text}", None,
                                                      "run it with --debug and report what it prints")))  # fmt: skip


def report(context: Context, error: CrosswalkError, code: int | None = None) -> int:
    """Print an error as its lines, or as JSON; the exit code."""
    if context.debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    try:
        if context.json or "--json" in sys.argv:
            write_json(as_json(error))
        else:
            for problem in error.problems:
                click.echo(printable(str(problem)), err=True)
    except BrokenPipeError:
        _close_quietly()
    return error.exit_code if code is None else code


def _misused(error: click.ClickException) -> Problem:
    """click's own complaint as a problem: what is wrong, and the command that explains it."""
    context = getattr(error, "ctx", None)
    hint = f"see `{context.command_path if context else 'crosswalk'} --help`"
    if isinstance(error, click.exceptions.NoSuchOption):
        known = [one for each in context.command.params for one in each.opts] if context else []
        return Problem(
            "X900", f"there is no option `{error.option_name}`", None, f"{nearest(error.option_name, known)} ({hint})"
        )
    text = error.format_message().rstrip(".").replace("'", "`")
    return Problem("X900", text[:1].lower() + text[1:], None, hint)


def _refused_by_the_system(error: OSError) -> Problem:
    """The operating system said no: which file, and why, without the folders above it."""
    from pathlib import Path

    name = Path(str(error.filename)).name if error.filename else ""
    why = (error.strerror or type(error).__name__).lower()
    return Problem(
        "X913", f"{name or 'a file'}: {why}", None, "see that it is there, that you may use it, and that there is room"
    )


def _close_quietly() -> None:
    """The reader has gone: nothing more is printed, not even at exit."""
    import os

    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(quiet, stream.fileno())
