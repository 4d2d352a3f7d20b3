"""The bundled fake systems for a workspace: one set a process, on data that stays in `.crosswalk/sandbox`."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from engine.sdk.errors import ConnectorError, Position, Problem, SpecError, nearest

_running: dict[Path, Any] = {}


def running(folder: Path) -> Any:
    """The workspace's sandbox, started when first asked for and closed with the process."""
    place = folder / ".crosswalk" / "sandbox"
    if place not in _running:
        from importlib.metadata import entry_points

        (point,) = entry_points(group="engine.sandboxes", name="default")
        _running[place] = point.load()(place)
        atexit.register(_running[place].close)
    return _running[place]


def fresh() -> Any:
    """Bundled fakes in memory, as seeded; the caller closes them."""
    from importlib.metadata import entry_points

    (point,) = entry_points(group="engine.sandboxes", name="default")
    return point.load()(None)


def inject(sandbox: Any, script: Path, seed: int) -> int:
    """Let a script of faults (YAML or JSON) stand before the systems; how many lines it has. Raises SpecError."""
    from pydantic import ValidationError

    from engine.spec.faults import problems_of
    from engine.spec.load import content
    from engine.spec.source import read_yaml

    given, positions = read_yaml(content(script, script.name), script.name)
    if not isinstance(given, list):
        hint = "write `- { do: cut, method: POST, chance: 5% }`, one line a fault"
        raise SpecError(Problem("E142", "a script of faults is a list", Position(script.name, 1, 1), hint))
    rules, problems = [], []
    for number, one in enumerate(given):
        try:
            rules.append(sandbox.rule.model_validate(one))
        except ValidationError as error:
            problems += problems_of(error, sandbox.rule, positions, (number,))
    if problems:
        raise SpecError(problems)
    sandbox.inject(rules, seed)
    return len(rules)


def stop_all() -> None:
    """Close what this process started."""
    while _running:
        _, sandbox = _running.popitem()
        atexit.unregister(sandbox.close)
        sandbox.close()


def setting(folder: Path, name: str) -> str:
    """`salesforce` gives a system's address, `salesforce.client_id` one of its credentials."""
    system, _, key = name.partition(".")
    sandbox = running(folder)
    if system not in sandbox.servers:
        problem = Problem("C503", f"there is no sandbox {system!r}", None, nearest(system, sandbox.servers))
        raise ConnectorError("config", problem)
    if not key:
        return str(sandbox.url(system))
    known = sandbox.credentials(system)
    if key not in known:
        raise ConnectorError(
            "config", Problem("C503", f"the {system} sandbox has no {key!r}", None, nearest(key, known))
        )
    return str(known[key])
