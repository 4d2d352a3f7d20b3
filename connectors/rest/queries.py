"""Query languages as named kinds: SOQL and SuiteQL. Values enter as literals of the dialect or as binds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from connectors.rest import slices
from engine.sdk.connector import Read
from engine.sdk.manifest import ObjectSpec
from engine.sdk.manifest_requests import Query
from engine.sdk.record import JSON, Fields


def soql_literal(value: JSON) -> str:
    """A value as SOQL writes it; text with its quotes and backslashes escaped."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, Decimal)):
        return format(value, "f") if isinstance(value, Decimal) else str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{text}'"


def soql_instant(text: str) -> str:
    """An instant as SOQL filters take it: whole seconds, UTC."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def soql(query: Query, spec: ObjectSpec, fields: Sequence[str], request: Read | None, by: Fields | None = None) -> str:
    """A SELECT for a read or for a search."""
    modified = spec.modified.field if spec.modified else None
    columns = list(dict.fromkeys([*spec.key, *([modified] if modified else []), *(query.select or fields)]))
    columns = list(dict.fromkeys(_child(query, one) or one for one in columns))
    tests = [query.where] if query.where else []
    if request is not None and modified:
        if request.since is not None:
            tests.append(f"{modified} >= {soql_instant(request.since)}")
        if request.until is not None:
            tests.append(f"{modified} < {soql_instant(request.until)}")
    tests += slices.tests(query, spec, request.slice if request else None)
    if request is not None and request.keys is not None:
        tests.append(f"{spec.key[0]} IN ({', '.join(map(soql_literal, request.keys))})")
    for name, value in (by or {}).items():
        tests.append(f"{name} = {soql_literal(value)}")
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    order = f" ORDER BY {', '.join([*([modified] if modified else []), spec.key[0]])}"
    return f"SELECT {', '.join(columns)} FROM {query.from_}{where}{order}"  # noqa: S608 - names from the manifest, values as literals


def bound(text: str, form: str) -> str:
    """An instant as a parameter takes it."""
    if form in ("rfc3339", "text"):
        return text
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if form == "date":
        return moment.date().isoformat()
    if form == "seconds":
        return soql_instant(text)
    seconds = moment.astimezone(UTC).timestamp()
    return str(int(seconds * 1000) if form == "epoch_ms" else int(seconds))


def _child(query: Query, column: str) -> str | None:
    """The child query of a list that a column leads into; None for a column of the record itself."""
    name = column.split(".")[0]
    if name not in query.children:
        return None
    return f"(SELECT {', '.join(query.children[name])} FROM {name})"  # noqa: S608 - names from the manifest


def suiteql(
    query: Query, spec: ObjectSpec, request: Read | None, by: Fields | None, zone: str, after: str | None = None
) -> Mapping[str, Any]:
    """`{q, params}` for a read or for a search: ids and modified instants; the record itself is read by id."""
    tests, params = ([query.where] if query.where else []), []
    stamp = query.modified or "lastmodifieddate"
    columns = list(query.select) or ["id"]
    if spec.modified:
        columns.append(f"TO_CHAR({stamp}, 'YYYY-MM-DD HH24:MI:SS') AS modified")
    for bound, sign in ((request.since, ">="), (request.until, "<")) if request else ():
        if bound is not None and spec.modified:
            tests.append(f"{stamp} {sign} TO_TIMESTAMP(?, 'YYYY-MM-DD HH24:MI:SS')")
            moment = datetime.fromisoformat(bound.replace("Z", "+00:00"))
            params.append(moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S"))
    more, values = slices.binds(query, spec, request.slice if request else None)
    tests, params = tests + more, params + values
    if request is not None and request.keys is not None:
        tests.append(f"id IN ({', '.join('?' * len(request.keys))})")
        params += list(request.keys)
    for name, value in (by or {}).items():
        tests.append(f"{query.columns.get(name, name.lower())} = ?")
        params.append(value)
    if after is not None:
        tests.append("id > ?")
        params.append(after)
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    return {"q": f"SELECT {', '.join(columns)} FROM {query.from_}{where} ORDER BY id", "params": params}  # noqa: S608


def odata_literal(value: JSON, version: int) -> str:
    """A value as OData filters write it; text with its quotes doubled, decimals of version 2 with their suffix."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f") + ("M" if version == 2 else "")
    text = str(value).replace("'", "''")
    return f"'{text}'"


def odata_bound(text: str, kind: str, version: int) -> str:
    """A bound of a window: an instant, or a day where the field holds days."""
    day = kind == "date"
    plain = datetime.fromisoformat(text.replace("Z", "+00:00")).date().isoformat() if day else soql_instant(text)
    if version == 4:
        return plain
    return f"datetime'{plain}T00:00:00'" if day else f"datetimeoffset'{plain}'"


def odata(
    query: Query, spec: ObjectSpec, fields: Sequence[str], request: Read | None, by: Fields | None = None
) -> dict[str, str]:
    """`$select`, `$filter` and `$orderby` of a read or a search."""
    version = 4 if query.kind == "odata4" else 2
    modified = spec.modified
    wanted = [
        *spec.key,
        *([modified.field] if modified else []),
        *(query.select or (one.split(".")[0] for one in fields)),
    ]
    tests = [query.where] if query.where else []
    if request is not None and modified is not None:
        for at, sign in ((request.since, "ge"), (request.until, "lt")):
            if at is not None:
                tests.append(f"{modified.field} {sign} {odata_bound(at, modified.type, version)}")
    tests += slices.tests(query, spec, request.slice if request else None)
    if request is not None and request.keys is not None:
        tests.append(f"({' or '.join(f'{spec.key[0]} eq {odata_literal(key, version)}' for key in request.keys)})")
    tests += [
        f"{query.columns.get(name, name)} eq {odata_literal(value, version)}" for name, value in (by or {}).items()
    ]
    order = ",".join(f"{name} asc" for name in dict.fromkeys([*([modified.field] if modified else []), *spec.key]))
    params = {"$select": ",".join(dict.fromkeys(wanted)), "$orderby": order}
    return {
        **params,
        **({"$filter": " and ".join(tests)} if tests else {}),
        **({"$format": "json"} if version == 2 else {}),
    }
