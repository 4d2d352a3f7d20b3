"""`mappings/<system>/<object>.yaml`: pairs of a canonical field and a system's value, both directions in one file."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.sdk.config import Config, Duration, TimeZone
from engine.spec.about import About

Cast = Literal["string", "integer", "decimal", "money", "boolean", "date", "datetime", "duration", "list"]


def _factor(value: object) -> Fraction | str:
    if value == "minor":
        return "minor"
    try:
        if isinstance(value, bool):
            raise ValueError
        factor = Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError("write an exact factor, such as 1/60, 100 or 0.01, or minor") from None
    if factor <= 0:
        raise ValueError("write a factor greater than zero")
    return factor


def _round(value: object) -> object:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _reference(value: object) -> object:
    if isinstance(value, str):
        return {"entities": [value]}
    if isinstance(value, list):
        return {"entities": value}
    if isinstance(value, dict) and "entity" in value:
        entity = value["entity"]
        rest = {key: item for key, item in value.items() if key != "entity"}
        return {"entities": [entity] if isinstance(entity, str) else entity, **rest}
    return value


def _transforms(value: object) -> object:
    if not isinstance(value, list):
        raise ValueError("write a list of functions, such as [trim, upper]")
    found = []
    for one in value:
        if isinstance(one, str):
            found.append((one, ()))
        elif isinstance(one, dict) and len(one) == 1:
            name, given = next(iter(one.items()))
            found.append((name, tuple(given) if isinstance(given, list) else (given,)))
        else:
            raise ValueError("write a function's name, or `name: arguments`, such as {left: 10}")
    return found


class Ref(Config):
    """A reference: the native id of another record, kept as its canonical id."""

    entities: list[str] = Field(min_length=1)
    """Entity or entities that it may name."""
    object: str | None = None
    """Object whose links are meant, where one entity has several in this system."""
    part: str | None = None
    """Where the other mapping says `per`: outbound, an expression on the record for the element whose record is meant."""


class Given(Config):
    """What a rule gives where nothing was found."""

    value: Any


class FieldRule(Config):
    """One field: where its value comes from and what happens to it on the way. A bare string is `from`."""

    from_: str | list[str] | None = Field(None, alias="from")
    """JMESPath expression on the other side; a list is a composite key."""
    to: str | list[str] | None = None
    """Path to write, where it differs from `from`."""
    as_: Cast | None = Field(None, alias="as")
    """Type of the canonical value; a lossy or ambiguous cast is an error."""
    format: str | None = None
    """Form of a date or instant as in strptime, separator of a list, `h:mm` of a duration."""
    timezone: TimeZone | None = None
    """Zone of instants without offset; the connection's where it is left out."""
    decimal: Literal[",", "."] | None = None
    """Decimal mark of numbers that come as text."""
    scale: Annotated[Fraction | Literal["minor"] | None, BeforeValidator(_factor)] = None
    """Exact factor inbound, or `minor`: the currency's own minor unit."""
    round: Annotated[tuple[int, int] | None, BeforeValidator(_round)] = None
    """Decimals, half even: inbound, and back."""
    currency: str | None = None
    """Expression for the currency of `as: money`."""
    values: dict[Any, Any] | None = None
    """Value map, system → canonical."""
    lookup: str | None = None
    """Name of a table; or `{ table, column, give, by, at }` in one place."""
    column: str | None = None
    """Column that the system's value is in; the table's key where it is left out."""
    give: str | None = None
    """Column that the canonical field gets; the table's key where it is left out."""
    by: dict[str, str] | None = None
    """Several key columns and the expressions that fill them; one way."""
    at: str | None = None
    """Expression for the day that picks a dated row."""
    ref: Annotated[Ref | None, BeforeValidator(_reference)] = None
    """The value is the id of a record of this entity."""
    fields: dict[str, FieldRule] | None = None
    """A nested object, or the fields of each element."""
    each: str | None = None
    """List in the system whose elements become a list here."""
    key: str | list[str] | None = None
    """Field that tells elements apart."""
    transform: Annotated[list[tuple[str, tuple[Any, ...]]] | None, BeforeValidator(_transforms)] = None
    """Named functions, applied in order."""
    value: Any = None
    """A constant."""
    template: str | None = None
    """Text with {{ fields }}."""
    when: str | None = None
    """The rule holds only where this expression is true."""
    default: Any = None
    """Inbound value for missing or null."""
    blank: Literal["missing", "clear"] | None = None
    """What blank text means; text where it is left out."""
    on_missing: Literal["quarantine", "clear", "keep", "wait", "later"] | Given = "quarantine"
    """What happens where `values`, `lookup` or `ref` find nothing."""
    wait_for: Duration | None = None
    """How long `on_missing: wait` waits."""
    on: Literal["create", "always"] | None = None
    """Outbound: `create` is sent on create only; `always` also where the target's own role holds the field."""
    on_null: Literal["omit", "clear", "error"] | None = None
    """Outbound: what null does, whatever was delivered before."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("lookup"), dict):
            table = value["lookup"]
            strange = next((name for name in table if name not in ("table", "column", "give", "by", "at")), None)
            if strange is not None or "table" not in table:
                raise ValueError("`lookup` names a table: write a name, or { table: name, by: { column: expression } }")
            rest = {name: one for name, one in value.items() if name != "lookup"}
            return {**rest, "lookup": table["table"], **{name: one for name, one in table.items() if name != "table"}}
        return {"from": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _combination(self) -> FieldRule:
        given = self.model_fields_set
        sources = [name for name in ("from_", "template", "each") if getattr(self, name) is not None]
        sources += ["value"] * ("value" in given)
        if len(sources) > 1:
            names = " and ".join(f"`{name.strip('_')}`" for name in sources)
            raise ValueError(f"has both {names}: write one of them")
        needs_from = {"values": self.values, "transform": self.transform, "scale": self.scale, "as": self.as_}
        for name, used in needs_from.items():
            if used is not None and self.from_ is None and "value" not in given and not self.template:
                raise ValueError(f"`{name}` needs a value: add `from`")
        rules: list[tuple[bool, str]] = [
            (not sources and self.fields is None and self.by is None and self.to is None,
             "says nothing: add `from`, `value`, `template`, `fields` or `each`"),
            (self.each is not None and not self.fields, "`each` needs `fields` for the elements"),
            (self.fields is not None and self.from_ is not None, "`fields` makes an object: drop `from`"),
            (self.scale == "minor" and self.as_ != "money", "`scale: minor` needs `as: money`"),
            (self.scale is not None and self.as_ not in ("decimal", "money", "integer", None),
             "`scale` needs `as: decimal` or `as: money`"),
            (self.as_ == "money" and self.currency is None, "`as: money` needs `currency`"),
            (self.decimal is not None and self.as_ not in ("decimal", "money"), "`decimal` needs `as: decimal`"),
            (bool({"column", "give", "by", "at"} & given) and self.lookup is None,
             "`column`, `give`, `by` and `at` need `lookup`"),
            (self.format is not None and self.as_ not in ("date", "datetime", "list", "duration"),
             "`format` needs `as: date`, `datetime`, `duration` or `list`"),
            (self.wait_for is not None and self.on_missing != "wait", "`wait_for` needs `on_missing: wait`"),
            ("on_missing" in given and not (self.values or self.lookup or self.ref),
             "`on_missing` needs `values`, `lookup` or `ref`"),
            (sum(x is not None for x in (self.values, self.lookup, self.ref)) > 1,
             "has more than one of `values`, `lookup` and `ref`: write one of them"),
        ]  # fmt: skip
        for wrong, message in rules:
            if wrong:
                raise ValueError(message)
        return self


class Deleted(Config):
    """What tells a deleted record inbound, and what `deactivate` sends."""

    when: str | None = None
    """Expression on the native record: true means deleted."""
    set: dict[str, Any] | None = None
    """Fields that deactivate the record."""


class Onto(Config):
    """A mapping that adds to a record that another mapping made."""

    from_: str = Field(alias="from")
    ref: Annotated[Ref, BeforeValidator(_reference)]


class Mapping(Config):
    """A mapping. Its name is its path: `<system>/<object>`."""

    mapping: str
    """Name, equal to the path below `mappings/`."""
    about: About | None = None
    """Owner and notes."""
    extends: str | None = None
    """Another mapping that this one starts from."""
    remove: list[str] | None = None
    """Keys of the other mapping to leave out, such as fields.fax."""
    object: str | None = None
    """Object of the connector."""
    of: str | None = None
    """Between entities: the entity that it reads."""
    entity: str
    """Canonical entity."""
    schema_: int | None = Field(None, alias="schema")
    """Major version of the schema that it was written for."""
    where: str | None = None
    """Which native records this mapping is for."""
    marker: str | None = None
    """Field that carries Crosswalk's mark; the connector's where it is left out."""
    deleted: Deleted | None = None
    """What counts as deleted."""
    each: str | None = None
    """One canonical record for each element of this list."""
    key: Annotated[list[str] | None, BeforeValidator(_listed)] = None
    """Expressions that identify an element, with `each`."""
    onto: Onto | str | None = None
    """Adds to a record made elsewhere; never creates. Between entities: an expression for its id, for `derive` steps."""
    per: dict[str, FieldRule] | None = None
    """One target record for each element of a canonical list."""
    group: Annotated[list[str] | None, BeforeValidator(_listed)] = None
    """Between entities: many to one, by these expressions. A group whose last member leaves is deleted."""
    sum: dict[str, str] | None = None
    """With `group`: totals by field."""
    fields: dict[str, FieldRule] = {}
    """Rules for both directions."""
    inbound: dict[str, FieldRule] | None = None
    """Rules for system → canonical only."""
    outbound: dict[str, FieldRule] | None = None
    """Rules for canonical → system only; the left side is the system's field path."""

    def column(self, path: str) -> FieldRule | None:
        """The rule that takes a canonical path from one field of the system by its plain name; None where none does."""
        first, *rest = path.split(".")
        rule = self.fields.get(first) if first not in (self.inbound or {}) else None
        for name in rest:
            rule = (rule.fields or {}).get(name) if rule is not None and rule.each is None else None
        plain = rule is not None and isinstance(rule.from_, str) and rule.from_.isidentifier()
        return rule if plain else None

    @model_validator(mode="after")
    def _whole(self) -> Mapping:
        if (self.object is None) == (self.of is None):
            raise ValueError("write either `object` (of the connector) or `of` (the entity that it reads)")
        if self.each is not None and not self.key:
            raise ValueError("`each` needs `key`, which tells the elements apart")
        if not self.fields and not self.inbound and not self.outbound:
            raise ValueError("has no rules: add `fields`")
        if self.per is not None and len(self.per) != 1:
            raise ValueError("`per` takes one canonical list")
        if (self.group is not None or self.sum is not None) and self.of is None:
            raise ValueError("`group` and `sum` are for mappings between entities: write `of`")
        if (
            self.of is not None
            and self.onto is not None
            and (self.each or self.group or not isinstance(self.onto, str))
        ):
            raise ValueError("`onto` between entities names one record by an expression: drop `each` and `group`")
        return self
