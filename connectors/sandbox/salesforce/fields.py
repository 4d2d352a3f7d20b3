"""What a field is: its type and limits, how describe tells of it, and what it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from connectors.sandbox.salesforce.errors import Fault
from connectors.sandbox.store import Doc

NUMBERS = ("double", "currency", "percent", "int")
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")


@dataclass(frozen=True)
class Field:
    """One field. kind: id string textarea email phone url double int currency percent boolean date datetime picklist reference.

    to: object that a reference leads to; children: name of the list on the other side.
    """

    name: str
    kind: str = "string"
    length: int = 255
    required: bool = False
    read_only: bool = False
    unique: bool = False
    external: bool = False
    values: tuple[str, ...] = ()
    to: str | None = None
    children: str | None = None

    @property
    def relation(self) -> str | None:
        """The name by which queries walk to the parent: `Owner` of `OwnerId`, `Account__r` of `Account__c`."""
        if self.to is None:
            return None
        return self.name[:-3] + "__r" if self.name.endswith("__c") else self.name.removesuffix("Id")

    def described(self) -> Doc:
        """As describe has it."""
        number, custom = self.kind in NUMBERS, self.name.endswith("__c")
        return {
            "name": self.name, "label": self.name.removesuffix("__c").replace("_", " "), "type": self.kind,
            "length": 0 if number or self.kind in ("boolean", "date", "datetime") else self.length,
            "precision": 18 if number else 0, "scale": 2 if number and self.kind != "int" else 0, "digits": 0,
            "nillable": not self.required and self.kind not in ("boolean", "id"), "createable": not self.read_only,
            "updateable": not self.read_only, "externalId": self.external, "idLookup": self.external or self.kind == "id",
            "unique": self.unique, "calculated": False, "custom": custom, "caseSensitive": False, "filterable": True, "sortable": True,
            "defaultedOnCreate": self.kind == "boolean", "restrictedPicklist": bool(self.values),
            "referenceTo": [self.to] if self.to else [], "relationshipName": self.relation,
            "picklistValues": [{"value": one, "label": one, "active": True, "defaultValue": False} for one in self.values],
        }  # fmt: skip

    def check(self, value: Any) -> Any:
        """The value as it will be kept; blank text is null. Raises Fault."""
        if value is None or value == "":
            return False if self.kind == "boolean" else None
        if self.kind in NUMBERS:
            return self._number(value)
        if self.kind == "boolean":
            if not isinstance(value, bool):
                raise self._wrong(value)
            return value
        if not isinstance(value, str):
            raise self._wrong(value)
        if self.kind in ("date", "datetime"):
            return self._time(value)
        if len(value) > self.length and self.kind not in ("id", "reference"):
            raise Fault("STRING_TOO_LONG", f"{self.name}: data value too large: {value[:40]} (max length={self.length})",
                        fields=[self.name])  # fmt: skip
        if self.values and value not in self.values:
            raise Fault("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                        f"{self.name}: bad value for restricted picklist field: {value}", fields=[self.name])  # fmt: skip
        if self.kind == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise Fault("INVALID_EMAIL_ADDRESS", f"{self.name}: invalid email address: {value}", fields=[self.name])
        if self.kind == "reference":
            if not _ID.fullmatch(value):
                raise Fault("MALFORMED_ID", f"{self.name}: id value of incorrect type: {value}", fields=[self.name])
            return long_id(value)
        return value

    def read(self, text: str) -> Any:
        """A cell of a bulk job as the value that JSON would have had."""
        if self.kind in NUMBERS:
            try:
                return Decimal(text)
            except ArithmeticError:
                raise self._wrong(text) from None
        if self.kind == "boolean" and text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        return text

    def _number(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise self._wrong(value)
        if not -(10**16) < value < 10**16:
            raise Fault("NUMBER_OUTSIDE_VALID_RANGE", f"{self.name}: value outside of valid range", fields=[self.name])
        return value

    def _time(self, value: str) -> str:
        try:
            if self.kind == "date":
                return (
                    date.fromisoformat(value[:10]).isoformat() if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else _raise()
                )
            return spelled(datetime.fromisoformat(value.replace("Z", "+00:00")))
        except ValueError:
            raise self._wrong(value) from None

    def _wrong(self, value: Any) -> Fault:
        shown = str(value)[:60]
        return Fault(
            "JSON_PARSER_ERROR", f"Cannot deserialize instance of {self.kind} from VALUE {shown}", fields=[self.name]
        )


def _raise() -> str:
    raise ValueError


def long_id(id: str) -> str:
    """An id of 15 characters as the one of 18 that ignores case."""
    if len(id) != 15:
        return id
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    return id + "".join(
        letters[sum(one.isupper() << place for place, one in enumerate(id[n : n + 5]))] for n in (0, 5, 10)
    )


def spelled(moment: datetime) -> str:
    """An instant as Salesforce writes it: milliseconds, an offset without a colon."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}+0000"
