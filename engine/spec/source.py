"""Reads YAML and keeps every position: plain values plus where each key and value stands.

Built on PyYAML's composer. YAML 1.2 core scalars, narrowed: only `true` and `false` are booleans, numbers with
a point are `Decimal`, everything that looks like a date or a time stays text. Limits are checked on the tree of
nodes, before anything is built, so that an alias bomb costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from engine.sdk.errors import Position, Problem, Problems, SpecError

MAX_BYTES = 2**20
MAX_NODES = 100_000
MAX_DEPTH = 100
Path = tuple[str | int | bool | Decimal | None, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]{1,3})?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CORE = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Positions:
    """Where things stand in a document: path of keys and indexes → place of the value, and of its key."""

    file: str
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)

    def at(self, *path: Any) -> Position:
        """The place of the value at a path, or of the nearest parent that exists."""
        for length in range(len(path), -1, -1):
            found = self.values.get(tuple(path[:length]))
            if found:
                return found
        return Position(self.file)

    def key_at(self, *path: Any) -> Position:
        """The place of the key at a path, else of its value or the nearest parent."""
        return self.keys.get(tuple(path)) or self.at(*path)

    def below(self, name: str, place: Path) -> Positions:
        """The same, with what stands at a place also found under that name."""
        here = len(place)
        moved = [
            {(name, *path[here:]): at for path, at in known.items() if path[:here] == place}
            for known in (self.values, self.keys)
        ]
        return Positions(self.file, {**self.values, **moved[0]}, {**self.keys, **moved[1]})


class _Composer(yaml.composer.Composer):
    """The composer with our limits on nesting, so that deep input cannot exhaust the stack."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        try:
            if self.depth > MAX_DEPTH:
                event = self.peek_event()  # type: ignore[attr-defined]
                raise yaml.composer.ComposerError(
                    None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark
                )
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Loader(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, _Composer, yaml.resolver.BaseResolver):
    def __init__(self, stream: str) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        _Composer.__init__(self)
        yaml.resolver.BaseResolver.__init__(self)


def read_yaml(data: bytes, file: str) -> tuple[Any, Positions]:
    """YAML bytes to plain values and their positions.

    Raises:
        SpecError: E100 for what is not readable, E103 for duplicate keys, E104 for a limit, E105 for tags.
    """
    positions = Positions(file)
    start = Position(file)
    if len(data) > MAX_BYTES:
        raise _refused("E104", f"the file has {len(data):,} bytes", start, "a document may have 1 MiB; split it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refused("E100", "the file is not UTF-8 text", Position(file, line), "save it as UTF-8") from None
    root = _compose(text, file)
    if root is None:
        raise _refused("E100", "the document is empty", start, "start with what it is, such as `flow: name`")
    _check_size(root, file)
    builder = _Builder(positions)
    value = builder.build(root, ())
    builder.problems.raise_any()
    return value, positions


def _compose(text: str, file: str) -> Node | None:
    try:
        root: Node | None = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file)
        what = " ".join(filter(None, (error.context, error.problem)))
        raise _refused("E100", f"not readable as YAML: {what}", at, _advice(what)) from None
    except yaml.YAMLError as error:
        what = str(error).splitlines()[0]
        raise _refused("E100", f"not readable as YAML: {what}", Position(file), "remove that character") from None
    return root


def _advice(what: str) -> str:
    if "tab" in what or "'\\t'" in what:
        return "indent with spaces"
    if "mapping values are not allowed" in what:
        return "quote text that holds a colon, or check the indentation"
    if "expected a single document" in what:
        return "write one document a file"
    if "undefined alias" in what:
        return "define the anchor with & before it is used"
    if "nested deeper" in what:
        return "flatten it"
    return "check indentation, quotes and brackets here"


def _refused(code: str, message: str, at: Position, hint: str) -> SpecError:
    return SpecError(Problem(code, message, at, hint))


def _check_size(root: Node, file: str) -> None:
    """Refuse more nodes than the limit, counted as if aliases and merges were written out."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise _refused("E104", "an alias contains itself", _place(node, file), "write the value out")
        open_nodes.add(id(node))
        total = 1
        if isinstance(node, MappingNode):
            total += sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, SequenceNode):
            total += sum(map(size, node.value))
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    if size(root) > MAX_NODES:
        raise _refused(
            "E104", f"the document has more than {MAX_NODES:,} nodes once aliases are expanded",
            _place(root, file), "split it, or write fewer aliases",
        )  # fmt: skip


def _place(node: Node, file: str) -> Position:
    return Position(file, node.start_mark.line + 1, node.start_mark.column + 1)


class _Builder:
    """Turns nodes into values; collects every fault instead of stopping at the first."""

    def __init__(self, positions: Positions) -> None:
        self.positions, self.problems = positions, Problems()

    def build(self, node: Node, path: Path) -> Any:
        self.positions.values.setdefault(path, _place(node, self.positions.file))
        if isinstance(node, ScalarNode):
            return self.scalar(node)
        if node.tag not in (f"{_CORE}map", f"{_CORE}seq", "!"):
            self.tag(node)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, number)) for number, item in enumerate(node.value)]
        return self.mapping(node, path)

    def tag(self, node: Node) -> None:
        self.problems.add(
            "E105", f"the tag {node.tag} is not allowed", _place(node, self.positions.file), "remove the tag"
        )

    def mapping(self, node: Node, path: Path) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        seen: dict[Any, Position] = {}
        merges: list[Node] = []
        for key_node, value_node in node.value:
            at = _place(key_node, self.positions.file)
            if isinstance(key_node, ScalarNode) and key_node.value == "<<" and key_node.style is None:
                merges += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, ScalarNode):
                self.problems.add("E100", "a key must be a single value", at, "write text before the colon")
                continue
            key = self.scalar(key_node)
            identity = (key.__class__, key)
            if identity in seen:
                self.problems.add(
                    "E103", f"the key {key!r} stands here and on line {seen[identity].line}", at, "keep one of them"
                )
                continue
            if key in found:  # Python holds 1, 1.0 and true to be one key
                other = next(one for one in seen if one[1] == key)
                self.problems.add(
                    "E103", f"the keys {key_node.value} and {_said(other[1])} (line {seen[other].line}) cannot stand side by side",
                    at, "use a table, whose cells may hold both",
                )  # fmt: skip
                continue
            seen[identity] = at
            self.positions.keys[(*path, key)] = at
            found[key] = self.build(value_node, (*path, key))
        for merged in merges:
            self.merge(merged, path, found)
        return found

    def merge(self, node: Node, path: Path, found: dict[Any, Any]) -> None:
        at = _place(node, self.positions.file)
        if not isinstance(node, MappingNode):
            self.problems.add("E100", "`<<` merges mappings only", at, "point it at a mapping")
            return
        other = self.mapping_without_positions(node)
        for key, value in other.items():
            if key not in found:
                found[key] = value
                self.positions.values.setdefault((*path, key), at)

    def mapping_without_positions(self, node: MappingNode) -> dict[Any, Any]:
        inner = _Builder(Positions(self.positions.file))
        value: dict[Any, Any] = inner.mapping(node, ())
        self.problems.extend(inner.problems.found)
        return value

    def scalar(self, node: ScalarNode) -> Any:
        text: str = node.value
        explicit = node.tag.removeprefix(_CORE) if node.tag.startswith(_CORE) else node.tag
        if node.tag not in ("!", "") and not node.tag.startswith(_CORE):
            self.tag(node)
            return text
        if explicit not in ("str", "!", "int", "float", "bool", "null", "merge"):
            self.tag(node)
            return text
        if node.style is not None or node.tag == "!":
            return text
        return _plain(text, lambda code, message, hint: self.problems.add(
            code, message, _place(node, self.positions.file), hint))  # fmt: skip


def _plain(text: str, fault: Callable[[str, str, str], None]) -> Any:
    """A plain scalar by the rules of LANGUAGE section 1."""
    if text == "true":
        return True
    if text == "false":
        return False
    if text in ("", "~", "null"):
        return None
    if _INTEGER.fullmatch(text):
        if len(text) > 4000:
            fault("E104", "a number of more than 4,000 digits", "quote it if it is text")
            return 0
        return int(text)
    if _DECIMAL.fullmatch(text):
        return Decimal(text)
    if _NOT_FINITE.fullmatch(text):
        fault("E105", f"{text} is not a number that records can hold", "quote it if it is text")
    return text


def _said(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
