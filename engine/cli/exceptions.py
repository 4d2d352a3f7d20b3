"""`exceptions`: the records that wait for a person; list and show. What is done with them: see queue.py, replays.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from engine.cli.answer import inline, plain, printable, table
from engine.cli.chosen import Chosen, narrowed, row_of, told
from engine.cli.edits import edit
from engine.cli.main import Context, common, pass_context
from engine.cli.masks import masked, snapshots_hidden
from engine.cli.queue import assign, discard, note, tag
from engine.cli.replays import replay
from engine.cli.tries import try_mapping
from engine.sdk.record import Fields, decode_json, same
from engine.state import audit, corrections, queue
from engine.state import exceptions as state
from engine.state.corrections import Correction
from engine.state.kept import stages_of


@click.group()
@common
def exceptions() -> None:
    """Records that left the line, with the reason, the place in the YAML, and all that is needed to try again."""


for command in (assign, tag, note, edit, replay, try_mapping, discard):
    exceptions.add_command(command)

GROUPS = {"fingerprint": "fingerprint", "code": "code", "message": "message", "at": "at", "flow": "flow", "queue": "queue",
          "class": "class", "target": "target", "stage": "stage", "state": "state", "owner": "owner"}  # fmt: skip
"""What `--group` takes → the exception's key that is grouped by."""


@exceptions.command("list")
@click.option("--group", type=click.Choice(list(GROUPS)), is_flag=False, flag_value="fingerprint",
              help="Count them by this instead of listing them; alone: those alike.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(min=1))
@narrowed
@common
@pass_context
def list_exceptions(context: Context, group: str | None, everything: bool, limit: int, chosen: Chosen) -> None:
    """Open exceptions, newest first; or how many there are of each kind.

    \b
      crosswalk exceptions list --group
      crosswalk exceptions list --flow time-to-erp --code E430 --older-than 3d
    """
    with context.store.read() as tx:
        rows = state.listed(tx, **chosen, everything=everything, limit=limit if group is None else 10**9)
        total = len(rows) if len(rows) < limit else state.count(tx, **chosen, everything=everything)
        tags = queue.tags_of(tx, [row.id for row in rows]) if group is None else {}
    if group is not None:
        _list_groups(context, group, [told(row) for row in rows])
        return

    def text() -> None:
        for row in rows:
            where = f" → {row.target}" if row.target else ""
            words = "".join(f" +{word}" for word in tags.get(row.id, ()))
            has = f"  [{' '.join(filter(None, (row.queue, row.owner and f'@{row.owner}')))}]" * bool(
                row.queue or row.owner
            )
            click.echo(printable(f"{row.id}  {row.state:<8} {row.flow}{where}  {row.key}{has}{words}"))
            click.echo(printable(" ".join(filter(None, ("   ", row.code, row.at, row.message)))))
            if row.hint:
                click.echo(printable(f"    {row.hint}"))
        more = f", the newest {len(rows)} shown (--limit)" if total > len(rows) else ""
        kind = "exceptions" if everything else "open exceptions"
        click.echo(f"{total} {kind}{more}" if rows else f"no {kind}")

    context.answer({"exceptions": [told(row, tags.get(row.id, ())) for row in rows]}, text)


def _list_groups(context: Context, group: str, found: list[Fields]) -> None:
    """Most frequent first; with the newest of each group, to look at."""
    alike = group == "fingerprint"
    groups: dict[tuple[str, str], Fields] = {}
    for one in found:
        new = {
            group: one[GROUPS[group]],
            "code": one["code"],
            "count": 0,
            "message": one["message"],
            "example": one["id"],
        }
        if alike:
            new |= {"open": 0, "waiting": 0, "oldest": one["opened_at"], "newest": one["opened_at"], "queue": one["queue"],
                    "target": one["target"], "at": one["at"]}  # fmt: skip
        kept = groups.setdefault((str(one["code"]), str(one[GROUPS[group]])), new)
        kept["count"] += 1
        if alike:
            kept["open" if one["state"] == "open" else "waiting"] += one["state"] in ("open", "waiting", "due")
            kept["oldest"] = min(kept["oldest"], one["opened_at"])
            kept["newest"] = max(kept["newest"], one["opened_at"])
            if kept["queue"] != one["queue"]:
                kept["queue"] = None
    rows = sorted(groups.values(), key=lambda one: (-one["count"], str(one["code"]), str(one[group])))
    context.answer({"groups": rows}, lambda: _show_groups(group, rows, len(found)))


def _show_groups(group: str, rows: list[Fields], total: int) -> None:
    if group == "fingerprint":
        for one in rows:
            where = f" → {one['target']}" if one["target"] else ""
            days = f"{one['oldest'][:10]} to {one['newest'][:10]}"
            click.echo(printable(f"{one['fingerprint'][:12]}  {one['count']:,} ({one['open']:,} open, {one['waiting']:,} waiting)"
                                 f"  {days}{where}  [{plain(one['queue'])}]"))  # fmt: skip
            click.echo(printable(" ".join(filter(None, ("   ", one["code"], one["at"], one["message"])))))
            click.echo(printable(f"    such as {one['example']}"))
    else:
        head = ("count", "code", *([group] if group not in ("code", "message") else []), "example", "message")
        table(head, [[plain(one[name]) for name in head] for one in rows], right=["count"])
    click.echo(f"{total} exceptions in {len(rows)} groups")


@exceptions.command("show")
@click.argument("id")
@common
@pass_context
def show(context: Context, id: str) -> None:
    """One exception with what the record was at each stage; sensitive fields are masked."""
    row = row_of(context, id)
    with context.store.read() as tx:
        raw, canonical, payload, _ = stages_of(tx, id)
        notes = [{"at": at, "by": by, "did": did, "detail": detail} for at, by, did, detail in audit.of(tx, id)]
        tags = queue.tags_of(tx, [id]).get(id, [])
        edits = corrections.of_exception(tx, id)
    hidden = snapshots_hidden(context.workspace, row)
    snapshots = {"raw": raw, "canonical": canonical, "payload": payload}
    seen = {
        name: masked(decode_json(bytes(data)), hidden[name])
        for name, data in snapshots.items()
        if data and data != b"null"
    }

    edited = [_edit(one, hidden[one.stage]) for one in edits]

    def text() -> None:
        for name, value in told(row, tags).items():
            click.echo(f"{name}: {plain(value) if name != 'tags' else ' '.join(map(printable, tags)) or '—'}")
        click.echo(f"run: {row.run}, attempt {row.attempts}")
        if row.hint:
            click.echo(f"what to do: {row.hint}")
        for name, fields in seen.items():
            click.echo(f"{name}:")
            for field, value in fields.items():
                click.echo(f"    {field}: {inline(value, width=400)}")
        for one in edited:
            click.echo(printable(f"edited ({one['from']}) by {one['by']}: {one['because']}{' (past)' * one['past']}"))
            for field, (old, new) in one["fields"].items():
                click.echo(f"    {field}: {inline(old, width=400)} → {inline(new, width=400)}")
        for one in notes:
            said = " ".join(str(part) for part in (one["detail"] or {}).values())
            click.echo(printable(f"{one['at']}  {one['by']}: {one['did'].removeprefix('exceptions ')} {said}".rstrip()))

    whole: dict[str, Any] = {**told(row, tags), "hint": row.hint, "run": row.run, "attempts": row.attempts,
                             "closed_how": row.closed_how}  # fmt: skip
    context.answer({"exception": {**whole, **seen, "edits": edited, "notes": notes}}, text)


def _edit(one: Correction, hidden: Iterable[str]) -> Fields:
    """What a correction changed: {field: [old, new]}; past: it is for a version that the source has left behind."""
    old, new = decode_json(one.before), decode_json(one.value)
    changed = [name for name in dict.fromkeys([*old, *new]) if not same(old.get(name), new.get(name))]
    shown, given = masked(old, hidden), masked(new, hidden)
    fields = {name: [shown.get(name), given.get(name)] for name in changed}
    return {
        "from": one.stage,
        "by": one.person,
        "at": one.at,
        "because": one.because,
        "past": one.past,
        "fields": fields,
    }
