"""`exceptions assign|tag|note|discard`: who has an exception, what is said of it, and giving it up."""

from __future__ import annotations

import click

from engine.cli.chosen import Chosen, agreed, narrowed, narrowed_otherwise, row_of, rows_of
from engine.cli.main import Context, common, pass_context
from engine.sdk.errors import Problem, UsageError, unknown_name
from engine.state import audit, corrections, operations, queue
from engine.state import exceptions as state

LONGEST = 200
YES = click.option("--yes", is_flag=True, help="Do it for all that were chosen.")


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--to", "person", help="Give them to a person.")
@click.option("--queue", "moved", help="Move them to a queue of crosswalk.yaml.")
@click.option("--nobody", is_flag=True, help="Take them from whoever has them.")
@YES
@narrowed_otherwise
@common
@pass_context
def assign(context: Context, ids: tuple[str, ...], person: str | None, moved: str | None, nobody: bool, yes: bool,
           chosen: Chosen) -> None:  # fmt: skip
    """Say who looks after exceptions: a person, another queue, or nobody in particular.

    \b
      crosswalk exceptions assign x-1 x-2 --to ada
      crosswalk exceptions assign --fingerprint 3fa9 --queue pmo --yes
    """
    if (person is None) != nobody and moved is None:
        raise UsageError(
            Problem("X900", "it is not said to whom", None, "add --to NAME or --nobody, and --queue QUEUE to move them")
        )
    if person is not None and (nobody or not person.strip()):
        raise UsageError(Problem("X900", "somebody and nobody are both meant", None, "add --to NAME or --nobody"))
    short(person or "")
    known = context.workspace.settings.queues
    if moved is not None and moved not in known:
        raise UsageError(unknown_name("queue", moved, known, context.workspace.at("queues")))
    rows = rows_of(context, ids, chosen, "assigned")
    agreed(context, rows, chosen, yes, "assigned")
    names = [row.id for row in rows]
    with context.store.begin("assign") as tx:
        if moved is not None:
            queue.route(tx, names, moved)
        if person is not None or nobody:
            queue.take(tx, names, person)
        given = {name: value for name, value in (("to", person), ("queue", moved)) if value is not None}
        for row in rows:
            audit.append(tx, context.actor, "exceptions assign", row.id, given or {"to": "nobody"})
    where = " and ".join(filter(None, (person or ("nobody" if nobody else None), moved and f"queue {moved}")))
    context.answer({"assigned": names}, lambda: click.echo(f"{len(names)} assigned to {where}"))


def short(*words: str) -> None:
    if any(len(word) > LONGEST for word in words):
        raise UsageError(Problem("X900", f"a name has more than {LONGEST} characters", None, "write a shorter one"))


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--add", multiple=True, help="A word to put on them; may be repeated.")
@click.option("--remove", multiple=True, help="A word to take off them; may be repeated.")
@YES
@narrowed_otherwise
@common
@pass_context
def tag(context: Context, ids: tuple[str, ...], add: tuple[str, ...], remove: tuple[str, ...], yes: bool,
        chosen: Chosen) -> None:  # fmt: skip
    """Put words on exceptions, and take words off.

    \b
      crosswalk exceptions tag x-1 x-2 --add month-end --remove new
      crosswalk exceptions tag --queue pmo --add month-end --yes
    """
    if not any(word.strip() for word in (*add, *remove)):
        raise UsageError(Problem("X900", "no tag is given", None, "add --add WORD or --remove WORD"))
    short(*add)
    rows = rows_of(context, ids, chosen, "tagged")
    agreed(context, rows, chosen, yes, "tagged")
    names = [row.id for row in rows]
    with context.store.begin("tag") as tx:
        queue.tag(tx, names, [word.strip() for word in add if word.strip()], [word.strip() for word in remove])
        for row in rows:
            given = {"add": " ".join(f"+{word}" for word in add), "remove": " ".join(f"-{word}" for word in remove)}
            audit.append(
                tx, context.actor, "exceptions tag", row.id, {key: text for key, text in given.items() if text}
            )
    context.answer({"tagged": names}, lambda: click.echo(f"{len(names)} tagged"))


@click.command()
@click.argument("id")
@click.argument("text")
@common
@pass_context
def note(context: Context, id: str, text: str) -> None:
    """Write something down about an exception; `show` prints it, the audit trail keeps it."""
    row = row_of(context, id)
    with context.store.begin("note") as tx:
        audit.append(tx, context.actor, "exceptions note", row.id, {"note": text})
    context.answer({"noted": row.id}, lambda: click.echo(f"noted on {row.id}"))


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--because", required=True, help="Why; kept in the audit trail.")
@YES
@narrowed
@common
@pass_context
def discard(context: Context, ids: tuple[str, ...], because: str, yes: bool, chosen: Chosen) -> None:
    """Give records up. The next change of the source brings them back."""
    rows = rows_of(context, ids, chosen, "discarded")
    agreed(context, rows, chosen, yes, "discarded")
    names = [row.id for row in rows]
    with context.store.begin("discard") as tx:
        state.set_state(tx, names, "discarded", because)
        corrections.pass_by(tx, names)
        for row in rows:
            operations.decide(tx, str(row.canonical_id), row.part, "dropped", where=(row.flow, row.target))
            audit.append(tx, context.actor, "exceptions discard", row.id, {"because": because})
    context.answer({"discarded": names}, lambda: click.echo(f"{len(names)} discarded"))
