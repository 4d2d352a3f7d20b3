"""Every manifest of docs/connectors.md at work, each against a small system that speaks as it says."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from connectors.rest.forms import FORMS
from connectors.sandbox.server import Reply, Request
from engine.sdk.config import Secret
from engine.sdk.connector import Operation, Read, Record
from engine.sdk.errors import ConnectorError
from engine.sdk.manifest import FieldSpec, Manifest
from engine.sdk.manifest_auth import AuthKind
from engine.sdk.manifest_requests import Page
from tests.connectors.rest.conftest import Connect, Serve

PAGE = (Path(__file__).parents[3] / "docs/connectors.md").read_text("utf-8")
MANIFESTS = {yaml.safe_load(text)["connector"]: text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)}


def records(connector: Any, name: str, **more: Any) -> list[Record]:
    return [one for batch in connector.read(Read(name, **more)) for one in batch.records]


def test_the_page_names_every_kind() -> None:
    kinds = [*AuthKind.__args__, *Page.model_fields["kind"].annotation.__args__]  # type: ignore[attr-defined, union-attr]
    missing = [kind for kind in kinds if f"`{kind}`" not in PAGE]
    assert missing == [] and set(MANIFESTS) == {"desk", "crm_search", "erp_odata", "hr_soap", "bulk"}
    form = FieldSpec.model_fields["form"].annotation
    assert set(FORMS) == set(form.__args__[0].__args__)  # type: ignore[union-attr]


def test_a_whole_system(connect: Connect, serve: Serve) -> None:
    rows = {
        str(n): {
            "id": str(n),
            "code": f"c{n}",
            "hours": f"{n}:30",
            "due": "2026-01-31T12:00:00Z",
            "updated_at": f"2026-01-0{n}T00:00:00Z",
        }
        for n in range(1, 6)
    }
    seen: list[Request] = []

    def handle(request: Request) -> Reply:
        seen.append(request)
        if request.method == "GET" and request.path.endswith("/tickets"):
            codes = request.query.get("code", "").split(",") if "code" in request.query else None
            after = int(request.query.get("cursor", 0))
            since = request.query.get("updated_after", "")
            found = [
                row
                for row in rows.values()
                if int(row["id"]) > after and row["updated_at"] >= since and (codes is None or row["code"] in codes)
            ]
            page = found[:2]
            return Reply(200, {"data": page, "meta": {"next": page[-1]["id"] if len(found) > 2 else None}})
        if request.method == "POST":
            ticket = request.json()["ticket"]
            if ticket.get("code") == "c1":
                return Reply(409, {"code": "DUP", "existing_id": "1"})
            return Reply(201, {"data": {"id": "9", "etag": "v1", **ticket}})
        if request.method == "PATCH":
            good = request.headers.get("if-match") == "v1"
            return Reply(200 if good else 412, {"errors": [{"message": "changed meanwhile"}]})
        return Reply(204)

    connector = connect(MANIFESTS["desk"], url=serve(handle).url, auth={"kind": "bearer", "token": Secret("t")})
    found = records(connector, "tickets", since="2026-01-02T00:00:00.000000Z")
    assert [one.key for one in found] == ["2", "3", "4", "5"]
    assert (found[0].value["hours"], found[0].value["due"]) == (Decimal("2.5"), "2026-01-31")
    before = len(seen)
    hits = connector.find("tickets", [{"code": "c4"}, {"code": "nope"}, {"code": "c2"}])
    assert [[one.key for one in part] for part in hits] == [["4"], [], ["2"]] and len(seen) == before + 1
    made, twin = connector.write(
        "tickets",
        [
            Operation("a", "create", {"code": "x", "hours": Decimal("0.25")}, mark="m"),
            Operation("b", "create", {"code": "c1"}, mark="n"),
        ],
    )
    assert (made.state, made.key, made.version) == ("created", "9", "v1") and (twin.state, twin.key) == ("matched", "1")
    sent = next(one.json()["ticket"] for one in seen if one.method == "POST" and b'"x"' in one.data)
    assert sent == {"code": "x", "hours": "0:15", "ref": "m"}
    stale, fresh = (
        connector.write("tickets", [Operation("c", "update", {}, key="9", changes={"code": "y"}, version=one)])[0]
        for one in ("v0", "v1")
    )
    assert (stale.state, fresh.state) == ("conflict", "updated")
    (gone,) = connector.write("tickets", [Operation("d", "delete", {}, key="9")])
    assert gone.state == "deleted"


def test_searches_in_the_body_and_records_by_the_hundred(connect: Connect, serve: Serve) -> None:
    rows = {
        str(n): {"id": str(n), "properties": {"name": f"n{n}", "hs_lastmodifieddate": f"2026-01-0{n}T00:00:00Z"}}
        for n in range(1, 6)
    }
    seen: list[tuple[str, Any]] = []

    def handle(request: Request) -> Reply:
        body = request.json()
        seen.append((request.path.rsplit("/", 1)[-1], body))
        if request.path.endswith("search"):
            assert body["limit"] == 2
            start = int(body.get("after", 0))
            page = list(rows)[start : start + 2]
            paging = {"paging": {"next": {"after": str(start + 2)}}} if start + 2 < len(rows) else {}
            return Reply(200, {"results": [{"id": id} for id in page], **paging})
        if request.path.endswith("read"):
            return Reply(200, {"results": [rows[id] for id in reversed(body["inputs"]) if id != "3"]})
        return Reply(207, {"results": [{"objectWriteTraceId": one["objectWriteTraceId"], "id": "7"} for one in body["inputs"][1:]],
                           "errors": [{"message": "no name", "context": {"objectWriteTraceId": [body["inputs"][0]["objectWriteTraceId"]]}}]})  # fmt: skip

    connector = connect(MANIFESTS["crm_search"], url=serve(handle).url, auth={"token": "t"})
    found = records(connector, "companies", page=2)
    assert [one.key for one in found] == ["1", "2", "4", "5"] and found[0].value["properties"][
        "name"
    ] == "n1"  # 3 is gone since
    assert [name for name, _ in seen] == ["search", "read"] * 3 and seen[0][1]["filters"] == []
    seen.clear()
    records(connector, "companies", page=2, since="2026-01-01T00:00:00.000000Z")
    assert seen[0][1]["filters"] == [
        {"propertyName": "hs_lastmodifieddate", "operator": "GTE", "value": "1767225600000"}
    ]
    outcomes = connector.write("companies", [Operation(f"op{n}", "create", {"name": str(n)}) for n in range(2)])
    assert [(one.id, one.state) for one in outcomes] == [("op0", "refused"), ("op1", "created")]


def test_odata(connect: Connect, serve: Serve) -> None:
    seen: list[Request] = []

    def handle(request: Request) -> Reply:
        seen.append(request)
        if request.path == "/token":
            assert request.form()["client_secret"] == "s"
            return Reply(200, {"access_token": "t", "expires_in": 3599})
        if request.method == "PATCH":
            assert request.parts[-1] == "accounts(crosswalk='m''1')" or request.path.endswith(
                "accounts(crosswalk='m1')"
            )
            return Reply(201, {"accountid": "a9"})
        second = "skiptoken" in request.url
        page = {
            "value": [
                {
                    "accountid": "a3" if second else "a1",
                    "name": "x",
                    "revenue": Decimal("1.10"),
                    "modifiedon": "2026-01-02T03:04:05Z",
                }
            ]
        }
        return Reply(
            200,
            {**page, **({} if second else {"@odata.nextLink": request.url.split("?")[0] + "?$skiptoken=%3Ca%20b%3E"})},
        )

    connector = connect(
        MANIFESTS["erp_odata"], url=serve(handle).url, auth={"client_id": "c", "client_secret": Secret("s")}
    )
    found = records(connector, "accounts", since="2026-01-01T00:00:00.000000Z", fields=("name", "revenue"))
    assert [one.key for one in found] == ["a1", "a3"] and found[0].value["revenue"] == Decimal("1.10")
    first = next(one for one in seen if one.path.endswith("accounts"))
    assert first.query == {"$select": "accountid,modifiedon,name,revenue", "$orderby": "modifiedon asc,accountid asc",
                           "$filter": "modifiedon ge 2026-01-01T00:00:00Z"}  # fmt: skip
    assert "%3Ca%20b%3E" in seen[-1].url  # a next link goes back as it came
    connector.find("accounts", [{"name": "O'Brien & \u00c9t\u00e9"}])
    assert any(one.query.get("$filter") == "name eq 'O''Brien & Été'" for one in seen)
    (made,) = connector.write("accounts", [Operation("a", "upsert", {"name": "x"}, mark="m1")])
    assert (made.state, made.key) == ("created", "a9")


def test_soap(connect: Connect, serve: Serve) -> None:
    asked: list[ElementTree.Element] = []

    def handle(request: Request) -> Reply:
        root = ElementTree.fromstring(request.data)
        asked.append(root)
        page = int(next(one.text or "0" for one in root.iter("Page")))
        workers = "".join(
            f"<wd:Worker><wd:ID wd:type='WID'>{n}</wd:ID><wd:Birth_Date>1990-01-0{n}-08:00</wd:Birth_Date><wd:Note/></wd:Worker>"
            for n in (page * 2 - 1, page * 2)
        )
        body = (
            f"<env:Envelope xmlns:env='http://schemas.xmlsoap.org/soap/envelope/'><env:Body><wd:Get_Workers_Response xmlns:wd='urn:com.workday/bsvc'>"
            f"<wd:Response_Results><wd:Page>{page}</wd:Page><wd:Total_Pages>2</wd:Total_Pages></wd:Response_Results>"
            f"<wd:Response_Data>{workers}</wd:Response_Data></wd:Get_Workers_Response></env:Body></env:Envelope>"
        )
        return Reply(200, body.encode(), {"Content-Type": "text/xml"})

    connector = connect(MANIFESTS["hr_soap"], url=serve(handle).url, user="isu@t", password=Secret("a<b>&c"))
    found = records(connector, "workers", since="2026-01-01T00:00:00Z")
    assert [one.value["ID"]["#text"] for one in found] == ["1", "2", "3", "4"]
    assert found[0].value["Birth_Date"] == "1990-01-01" and found[0].value["Note"] is None
    assert [one.text for root in asked for one in root.iter("Password")] == ["a<b>&c"] * 2  # escaped on the way


@pytest.mark.parametrize(
    "document",
    [
        '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "<x>" * 100 + "</x>" * 100, "<x><y></x>", "{",
        '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><l>&b;</l>',
    ],
)  # fmt: skip
def test_hostile_xml_is_refused(connect: Connect, serve: Serve, document: str) -> None:
    server = serve(lambda _: Reply(200, document.encode(), {"Content-Type": "text/xml"}))
    with pytest.raises(ConnectorError, match="C516|C530"):
        records(connect(MANIFESTS["hr_soap"], url=server.url, user="u", password="p"), "workers")


def test_jobs(connect: Connect, serve: Serve) -> None:
    state: dict[str, Any] = {"rows": [], "polls": 2}

    def handle(request: Request) -> Reply:
        what = request.path.rsplit("/", 1)[-1]
        if request.path == "/jobs":
            assert request.json() == {"object": "rows", "operation": "upsert"}
            return Reply(200, {"id": "j1"})
        if what == "data":
            state["rows"] = list(csv.DictReader(io.StringIO(request.data.decode())))
            return Reply(204)
        if request.method == "PATCH":
            return Reply(200, {})
        if what == "j1":
            state["polls"] -= 1
            return Reply(200, {"state": "done" if state["polls"] < 0 else "running"})
        good = [row for row in state["rows"] if (row["name"] != "bad") == (what == "good")]
        text = "ref,id,created,error\n" + "".join(
            f"{row['ref']},k-{row['ref']},true,too short\n" for row in reversed(good)
        )
        return Reply(200, text.encode(), {"Content-Type": "text/csv"})

    connector = connect(MANIFESTS["bulk"], url=serve(handle).url)
    outcomes = connector.write(
        "rows", [Operation(f"o{n}", "upsert", {"name": name}, mark=f"m{n}") for n, name in enumerate(["a", "bad", "c"])]
    )
    assert [(one.state, one.key) for one in outcomes] == [("created", "k-m0"), ("refused", None), ("created", "k-m2")]
    assert outcomes[1].problem is not None and outcomes[1].problem.message == "too short"


LISTS = {
    "none": ("{ kind: none }", lambda n, request: {"items": [{"id": i} for i in range(n)]}),
    "page": ("{ kind: page, param: p, full: true, size: { param: size, max: 2 } }",
             lambda n, request: {"items": [{"id": i} for i in range(n)][(int(request.query["p"]) - 1) * 2 :][:2]}),
    "offset": ("{ kind: offset, param: skip, total: body.total, size: { param: size, max: 2 } }",
               lambda n, request: {"total": n, "items": [{"id": i} for i in range(n)][int(request.query["skip"]) :][:2]}),
    "capped": ("{ kind: offset, param: skip, full: true, cap: 4, after: gt, size: { param: size, max: 2 } }",
               lambda n, request: {"items": [{"id": i} for i in range(n) if i > int(request.query.get("gt", -1))][int(request.query["skip"]) :][:2]}),
    "cursor": ("{ kind: cursor, next: body.next, param: c, end: 'none' }",
               lambda n, request: {"items": [{"id": i} for i in range(n)][int(request.query.get("c", 0)) :][:2],
                                   "next": str(int(request.query.get("c", 0)) + 2) if int(request.query.get("c", 0)) + 2 < n else "none"}),
    "keyset": ("{ kind: keyset, param: 'id[gt]', full: true, size: { param: size, max: 2 } }",
               lambda n, request: {"items": [{"id": i} for i in range(n) if i > int(request.query.get("id[gt]", -1))][:2]}),
}  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("kind", [*LISTS, "link_header"])
def test_every_kind_of_list_gives_each_record_once(connect: Connect, serve: Serve, kind: str, count: int) -> None:
    page, answer = LISTS.get(kind, ("{ kind: link_header }", LISTS["cursor"][1]))

    def handle(request: Request) -> Reply:
        body = answer(count, request)
        if kind == "link_header":
            following = body.pop("next")
            links = ['</first>; rel="first"'] + (
                [f'</things?c={following}>; title="a, b; rel=x"; rel="next prefetch"'] if following != "none" else []
            )
            return Reply(200, body, {"Link": ", ".join(links)})
        return Reply(200, body)

    manifest = f'connector: x\nsettings: {{ url: {{ required: true }} }}\nbase: "{{url}}"\npage: {page}\nobjects: {{ things: {{ read: {{ get: /things, records: body.items }} }} }}\n'
    found = records(connect(manifest, url=serve(handle).url), "things")
    assert [one.key for one in found] == [str(n) for n in range(count)]


def test_a_list_that_is_said_to_be_empty_is_and_one_that_is_not_there_is_not(connect: Connect, serve: Serve) -> None:
    manifest = 'connector: x\nsettings: { url: { required: true } }\nbase: "{url}"\nobjects: { things: { read: { get: /things, records: body } } }\n'
    url = serve(lambda _: Reply(404, {"error": "No results match your search criteria."})).url
    with pytest.raises(ConnectorError, match="C531"):
        records(connect(manifest, url=url), "things")
    rule = "errors: [{ when: \"status == `404` && contains(body.error, 'No results')\", do: empty }]\n"
    assert records(connect(manifest + rule, url=url), "things") == []


def test_every_manifest_of_the_page_is_sound() -> None:
    for text in MANIFESTS.values():
        Manifest.model_validate(yaml.safe_load(text))
