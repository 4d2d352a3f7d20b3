"""Values of the record API: what a field takes, how references and sublists are written and shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from connectors.sandbox.netsuite.errors import content
from connectors.sandbox.netsuite.kinds import COMPUTED, SUBLISTS, SYSTEM, Kind, label
from connectors.sandbox.store import Doc, Store

NAME, VALUE = "x-netsuite-propertynamevalidation", "x-netsuite-propertyvaluevalidation"
MODES = ("error", "warning", "ignore")
_CLOCK = re.compile(r"(-?)(\d+):([0-5]\d)")


class Values:
    """Checks against one store. strict names: unknown names are errors; strict values: wrong values are."""

    def __init__(self, store: Store, headers: dict[str, str]) -> None:
        self.store = store
        name, value = headers.get(NAME, "warning").lower(), headers.get(VALUE, "error").lower()
        for given, header in ((name, NAME), (value, VALUE)):
            if given not in MODES:
                raise content(f"{header} is one of {', '.join(MODES)}")
        self.strict_names, self.strict_values = name == "error", value == "error"

    def checked(self, kind: Kind, fields: Doc) -> Doc:
        """The fields that will be kept. Raises Fault INVALID_CONTENT."""
        if not isinstance(fields, dict):
            raise content("The body is not an object")
        return self._each(fields, kind.type_of, "")

    def _each(self, fields: Doc, type_of: Callable[[str], str | None], path: str) -> Doc:
        found: Doc = {}
        for name, value in fields.items():
            if name in COMPUTED:
                continue
            here, kind = f"{path}{name}", type_of(name)
            if kind is None:
                if self.strict_names:
                    raise content(f"Unknown property name: {name}", here)
                continue  # the default: unknown names are dropped in silence
            fits, kept = self._value(kind, name, value, here)
            if not fits and self.strict_values:
                raise content(f"Invalid value for the {kind.partition(':')[0]} field {name}", here)
            if fits:
                found[name] = kept
        return found

    def _value(self, kind: str, name: str, value: Any, path: str) -> tuple[bool, Any]:
        if value is None or kind == "any":
            return True, value
        if kind == "lines":
            return self._lines(name, value, path)
        if kind.startswith("ref:"):
            return self._reference(kind[4:].split("|"), value, path)
        if kind == "number":
            return isinstance(value, (int, Decimal)) and not isinstance(value, bool), value
        if kind == "bool":
            return isinstance(value, bool), value
        if kind == "enum":
            id = value.get("id") if isinstance(value, dict) else value
            return isinstance(id, str), {"id": id} if isinstance(value, dict) else value
        if kind == "duration":
            return hours(value) is not None, value
        if not isinstance(value, str):
            return False, value
        if kind in ("date", "datetime"):
            try:
                date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value.replace("Z", "+00:00"))
            except ValueError:
                return False, value
        return True, value

    def _lines(self, name: str, value: Any, path: str) -> tuple[bool, Any]:
        items = value.get("items") if isinstance(value, dict) else None
        if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
            return False, value
        type_of = lambda field: SUBLISTS[name].get(field) or ("any" if field.startswith("custcol") else None)  # noqa: E731
        return True, {"items": [self._each(one, type_of, f"{path}.items[{n}].") for n, one in enumerate(items)]}

    def _reference(self, targets: list[str], value: Any, path: str) -> tuple[bool, Any]:
        """`{id}` or `{externalId}` as the id of a record that exists. Raises Fault where it does not."""
        if not isinstance(value, dict):
            return False, value
        id, external = value.get("id"), value.get("externalId")
        for target in targets:
            if id is not None and self.store.get(SYSTEM, target, str(id)) is not None:
                return True, {"id": str(id)}
            if id is None and external is not None:
                hits = [
                    one
                    for one in self.store.keyed(SYSTEM, target, "externalId", external)
                    if one["externalId"] == external
                ]
                if hits:
                    return True, {"id": hits[0]["id"]}
        if id is None and external is None:
            return not value, None
        raise content(f"Invalid reference key {id if id is not None else external} for {'/'.join(targets)}", path)


def hours(value: Any) -> Decimal | None:
    """A duration, `h:mm` or a number, in hours; None where it is neither."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    return (Decimal(match[2]) + Decimal(match[3]) / 60) * (-1 if match[1] else 1)


def clock(value: Any) -> Any:
    """A duration as `h:mm`."""
    number = hours(value)
    if number is None:
        return value
    minutes = round(abs(number) * 60)
    return f"{'-' if number < 0 else ''}{minutes // 60}:{minutes % 60:02d}"


class Shown:
    """Records as they are read. durations: `given` as written, `clock` as h:mm."""

    def __init__(self, store: Store) -> None:
        self.store, self.url, self.durations = store, "", "given"

    def href(self, kind: str, id: str) -> str:
        return f"{self.url}/services/rest/record/v1/{kind}/{id}"

    def whole(self, kind: Kind, doc: Doc, query: dict[str, str]) -> Doc:
        """A record; sublists only with expandSubResources, else as links."""
        href = self.href(kind.name, doc["id"])
        expand, plain = query.get("expandSubResources") == "true", query.get("simpleEnumFormat") == "true"
        wanted = {
            name for name in query.get("fields", "").split(",") if kind.type_of(name)
        }  # unknown names ask for nothing
        body: Doc = {"links": [{"rel": "self", "href": href}]}
        for name, value in doc.items():
            if value is None or (wanted and name not in wanted | {"id"}):
                continue
            if kind.type_of(name) != "lines":
                body[name] = self._value(kind.type_of(name) or "any", value, plain)
            elif not expand:
                body[name] = {"links": [{"rel": "self", "href": f"{href}/{name}"}]}
            else:
                types = SUBLISTS[name]
                items = [{"links": [], **{key: self._value(types.get(key, "any"), one, plain) for key, one in item.items()}}
                         for item in value["items"]]  # fmt: skip
                body[name] = {"links": [{"rel": "self", "href": f"{href}/{name}"}], "count": len(items), "hasMore": False,
                              "items": items, "offset": 0, "totalResults": len(items)}  # fmt: skip
        return body

    def _value(self, kind: str, value: Any, plain: bool) -> Any:
        if kind.startswith("ref:") and isinstance(value, dict):
            return self._reference(kind[4:].split("|"), str(value["id"]))
        if kind == "enum" and isinstance(value, dict):
            return value["id"] if plain else {"refName": value.get("refName", value["id"]), **value}
        if kind == "duration" and self.durations == "clock":
            return clock(value)
        return value

    def _reference(self, targets: list[str], id: str) -> Doc:
        for target in targets:
            doc = self.store.get(SYSTEM, target, id)
            if doc is not None:
                return {
                    "links": [{"rel": "self", "href": self.href(target, id)}],
                    "id": id,
                    "refName": label(target, doc),
                }
        return {"links": [], "id": id}
