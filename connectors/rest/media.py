"""What bodies are made of besides JSON: CSV tables, XML documents and text, in both directions where that is needed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

from engine.sdk.bodies import json_of
from engine.sdk.http import Decode
from engine.sdk.record import JSON, MAX_DEPTH, Fields

Media = Literal["json", "csv", "xml", "text"]
ACCEPT: dict[str, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "xml": "application/xml, text/xml",
    "text": "text/plain",
}
MAX_CELL = 1_000_000


def csv_of(kind: str, data: bytes) -> JSON:
    """A table with a header as a list of rows, every cell text. Raises ValueError for rows that do not fit the header."""
    if data.lstrip()[:1] in (b"{", b"["):
        return json_of("application/json", data)  # an error where a table was asked for
    if data.lstrip()[:1] == b"<":
        raise ValueError("markup, not CSV")
    text = data.decode("utf-8-sig").replace("\x00", "")
    csv.field_size_limit(MAX_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(reader, [])
        rows = []
        for row in reader:
            if len(row) != len(header):
                raise ValueError(
                    f"a table whose line {reader.line_num} has {len(row)} cells, not {len(header)}: truncated?"
                )
            rows.append(dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from None
    return rows


def xml_of(kind: str, data: bytes) -> JSON:
    """An XML document as nested objects: `{local name: …}`; see `element_of`. Raises ValueError, also for any DTD."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if data.lstrip()[:1] in (b"{", b"["):
        return json_of("application/json", data)
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        raise ValueError("XML with a DTD or entities, which are refused") from None
    except ParseError as error:
        raise ValueError(f"not XML: {error}") from None
    return {_local(root.tag): element_of(root)}


def element_of(element: Any, depth: int = 0) -> JSON:
    """Text, or an object: attributes as `@name`, text beside them as `#text`; repeated children as a list.

    Names lose their namespaces. An element without anything is null, as is one with `nil="true"`.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"XML nested deeper than {MAX_DEPTH} levels")
    found: Fields = {f"@{_local(name)}": value for name, value in element.attrib.items()}
    nil = found.pop("@nil", None) in ("true", "1")
    for child in element:
        name, value = _local(child.tag), element_of(child, depth + 1)
        if name in found:
            found[name] = [*found[name], value] if isinstance(found[name], list) else [found[name], value]
        else:
            found[name] = value
    text = (element.text or "").strip()
    if nil or (not found and not text):
        return None
    if not found:
        return text
    return {**found, "#text": text} if text else found


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def text_of(kind: str, data: bytes) -> JSON:
    """Text as it is. Raises ValueError where it is not UTF-8."""
    return data.decode("utf-8-sig")


DECODE: dict[str, Decode] = {"json": json_of, "csv": csv_of, "xml": xml_of, "text": text_of}


def csv_body(rows: Sequence[Fields], null: str) -> bytes:
    """Records as a table: missing fields are empty cells, null and blank text are `null`, parents `Parent.Key` columns."""
    flat = [_flat(row, null) for row in rows]
    header = list(dict.fromkeys(name for row in flat for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows([row.get(name, "") for name in header] for row in flat)
    return out.getvalue().encode()


def _flat(row: Fields, null: str, before: str = "") -> dict[str, str]:
    cells: dict[str, str] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            cells |= _flat(value, null, f"{before}{name}.")
        else:
            cells[before + name] = _cell(value, null)
    return cells


def _cell(value: Any, null: str) -> str:
    if value is None or value == "":
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        raise ValueError("a table has no place for a list")
    return format(value, "f") if isinstance(value, Decimal) else str(value)
