"""Errors as Salesforce answers them: an array of code, message and fields; items of a collection name the code otherwise."""

from __future__ import annotations

from connectors.sandbox.server import Reply
from connectors.sandbox.store import Doc


class Fault(Exception):
    """An error: code, message, HTTP status, fields at fault."""

    def __init__(self, code: str, message: str, status: int = 400, fields: list[str] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.fields = code, message, status, fields or []

    def reply(self) -> Reply:
        """The body of a failed call."""
        body: Doc = {"message": self.message, "errorCode": self.code}
        return Reply(self.status, [{**body, "fields": self.fields} if self.fields else body])

    def item(self) -> Doc:
        """A failed record of a collection."""
        return {"success": False, "errors": [{"statusCode": self.code, "message": self.message, "fields": self.fields}]}

    def row(self) -> str:
        """A failed row of a bulk job."""
        return f"{self.code}:{self.message}:{' '.join(self.fields)}--"


def not_found() -> Fault:
    return Fault("NOT_FOUND", "The requested resource does not exist", 404)
