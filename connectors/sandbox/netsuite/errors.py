"""Errors as NetSuite answers them: an RFC 7807 body with o:errorDetails."""

from __future__ import annotations

from connectors.sandbox.server import Reply
from connectors.sandbox.store import Doc

TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
          409: "Conflict", 413: "Request Entity Too Large", 429: "Too Many Requests", 500: "Internal Server Error"}  # fmt: skip
ERROR = {"Content-Type": "application/vnd.oracle.resource+json; type=error"}
_SECTIONS = {400: "10.4.1", 401: "10.4.2", 403: "10.4.4", 404: "10.4.5", 405: "10.4.6", 409: "10.4.10", 413: "10.4.14"}


class Fault(Exception):
    """An error: HTTP status, code, detail, and the path of the property at fault."""

    def __init__(self, status: int, code: str, detail: str, path: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.code = status, code
        inner: Doc = {"detail": detail, "o:errorCode": code}
        if path:
            inner["o:errorPath"] = path
        section = _SECTIONS.get(status, "10.4")
        self.body: Doc = {"type": f"https://www.w3.org/Protocols/rfc2616/rfc2616-sec10.html#sec{section}",
                          "title": TITLES.get(status, "Error"), "status": status, "o:errorDetails": [inner]}  # fmt: skip

    def reply(self) -> Reply:
        return Reply(self.status, self.body, ERROR)


def missing(what: str = "") -> Fault:
    """No such record, or none that the role may see."""
    more = f" ({what})" if what else ""
    return Fault(
        404, "NONEXISTENT_ID", f"The record instance does not exist. Provide a valid record instance ID.{more}"
    )


def content(detail: str, path: str | None = None) -> Fault:
    return Fault(400, "INVALID_CONTENT", f"Invalid content in the request body. {detail}", path)


def parameter(detail: str) -> Fault:
    return Fault(400, "INVALID_PARAMETER", detail)


def refused(detail: str, path: str | None = None) -> Fault:
    """A business rule."""
    return Fault(400, "USER_ERROR", detail, path)
