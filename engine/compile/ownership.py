"""Who owns a field: `x-owner` as functions of the record, for merging and for what updates leave out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.compile.expression import Expression, compile_expression
from engine.sdk.record import Fields
from engine.spec.load import Document

Test = Callable[[Fields, Any], bool]


@dataclass(frozen=True, slots=True)
class Owner:
    """One field's owners in order; each holds where its condition does (None: always)."""

    roles: tuple[tuple[str, Expression | None], ...]

    def of(self, record: Fields, env: Any) -> str | None:
        """The role that owns the field of this record; None where no condition holds."""
        for role, when in self.roles:
            if when is None or true(when.evaluate(record, env)):
                return role
        return None


def true(value: Any) -> bool:
    """JMESPath truth: everything but null, false, empty text, list and object (numbers are true)."""
    return value is not None and value is not False and value != "" and value != [] and value != {}


@dataclass(slots=True)
class Ownership:
    """Owners of an entity's top-level fields."""

    owners: dict[str, Owner] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Document, present: frozenset[str] | None = None) -> Ownership:
        """Read `x-owner` of every field; a condition is an expression over the record before the change.

        present: roles of the workspace's connections. Of several owners those that no connection has are passed
        over, so that `[{role: expense}, {role: psa}]` is the expense system's, else the PSA's; the last one stays.
        """
        owners: dict[str, Owner] = {}
        for name, sub in document.data.get("properties", {}).items():
            given = sub.get("x-owner")
            if given is None:
                continue
            if isinstance(given, str):
                owners[name] = Owner(((given, None),))
                continue
            roles = []
            for number, one in enumerate(given):
                if present is not None and one["role"] not in present and number < len(given) - 1:
                    continue
                when = one.get("when")
                at = document.at("properties", name, "x-owner", number, "when")
                roles.append((one["role"], compile_expression(when, at) if when else None))
            owners[name] = Owner(tuple(roles))
        return cls(owners)

    def owned(self, name: str, role: str) -> bool | Test:
        """Whether the role owns the field: True, False, or a test of the record where it depends."""
        owner = self.owners.get(name)
        if owner is None or all(one != role for one, _ in owner.roles):
            return False
        if owner.roles[0] == (role, None):
            return True
        return lambda record, env: owner.of(record, env) == role

    @property
    def shared(self) -> frozenset[str]:
        """Fields that are shared, at some stage at least."""
        return frozenset(
            name for name, owner in self.owners.items() if any(role == "shared" for role, _ in owner.roles)
        )

    def roles(self) -> set[str]:
        """Every role that the entity names."""
        return {role for owner in self.owners.values() for role, _ in owner.roles} - {"shared"}
