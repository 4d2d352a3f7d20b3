"""Errors as Kantata answers them: a status, and a body of typed messages without codes."""

from __future__ import annotations

from connectors.sandbox.server import Reply


class Fault(Exception):
    """An error body. kind: oauth, system or validation; field: only for validation."""

    def __init__(self, status: int, kind: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.error = status, {"type": kind, "message": message, **({"field": field} if field else {})}

    def reply(self) -> Reply:
        return Reply(self.status, {"errors": [self.error]})


def missing() -> Fault:
    """Absent, or hidden by a default filter: Kantata does not say which."""
    return Fault(404, "system", "The requested resource does not exist")


def invalid(message: str, field: str | None = None) -> Fault:
    """What a model's validation says."""
    return Fault(422, "validation", message, field)
