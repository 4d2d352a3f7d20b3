"""CloudEvents 1.0: both forms there and back, what the specification's own examples say, and what is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sdk.cloudevents import MAX_BODY, STRUCTURED, CloudEvent, binary, parse, structured
from engine.sdk.errors import ConnectorError

JSON_EVENT = {"content-type": "Application/CloudEvents+JSON; charset=UTF-8"}
names = st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp", "Co", "Cn", "Zs")), min_size=1, max_size=20)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
events = st.builds(
    CloudEvent, id=names, source=names, type=names, subject=st.none() | names, time=st.sampled_from([None, "2026-01-31T09:00:00Z"]),
    data=values.filter(lambda one: one is not None),
    extensions=st.dictionaries(st.sampled_from(["sequence", "correlationid", "x1"]), names, max_size=2),
)  # fmt: skip


@given(events)
def test_law_an_event_comes_back_as_it_was_in_both_forms(event: CloudEvent) -> None:
    (whole,) = parse({"content-type": STRUCTURED}, structured(event))
    assert whole == event
    headers, body = binary(event)
    (parted,) = parse(headers, body)
    assert parted == event
    assert all(value.isascii() and value.isprintable() for value in headers.values())


def test_examples_of_the_specification() -> None:
    """From the HTTP protocol binding 1.0.2, sections 3.1.4 and 3.2.4, and the JSON format 1.0.2, section 3.2."""
    headers = {"ce-specversion": "1.0", "ce-type": "com.example.someevent", "ce-time": "2018-04-05T03:56:24Z", "ce-id": "1234-1234-1234",
               "ce-source": "/mycontext/subcontext", "content-type": "application/json; charset=utf-8"}  # fmt: skip
    (event,) = parse(headers, b'{"a": 1.10}')
    assert (event.id, event.source, event.data) == ("1234-1234-1234", "/mycontext/subcontext", {"a": Decimal("1.10")})
    assert str(event.data["a"]) == "1.10"
    body = b"""{"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "subject": null, "id": "C234-1234-1234",
        "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value", "comexampleothervalue": 5, "datacontenttype": "application/vnd.apache.thrift.binary",
        "data_base64": "AQID"}"""  # fmt: skip
    (event,) = parse(JSON_EVENT, body)
    assert event.subject is None and event.data == b"\1\2\3" and event.extensions["comexampleothervalue"] == 5
    euro = {
        "ce-id": "1",
        "ce-source": "/",
        "ce-type": "t",
        "ce-specversion": "1.0",
        "ce-x": "Euro%20%E2%82%AC%20%F0%9F%98%80",
    }
    assert parse(euro, b"")[0].extensions == {"x": "Euro € 😀"}
    assert parse({**euro, "ce-x": '"a\\"b"'}, b"")[0].extensions == {"x": 'a"b'}
    assert binary(CloudEvent("1", "/", "t", extensions={"x": "Euro € 😀"}))[0]["ce-x"] == euro["ce-x"]
    batch = b'[{"specversion":"1.0","id":"1","source":"/","type":"t"},{"specversion":"1.0","id":"2","source":"/","type":"t"}]'
    assert [one.id for one in parse({"content-type": "application/cloudevents-batch+json"}, batch)] == ["1", "2"]
    assert parse({"content-type": "application/cloudevents-batch+json"}, b"[]") == []


GOOD = b'"specversion":"1.0","id":"1","source":"/","type":"t"'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        ({"content-type": "application/json"}, b"{" + GOOD + b"}"),
        ({"content-type": "application/cloudevents+avro"}, b""),
        (JSON_EVENT, b""),
        (JSON_EVENT, b"[]"),
        (JSON_EVENT, b"\xff"),
        (JSON_EVENT, b"{" + GOOD + b',"id":"2"}'),
        (JSON_EVENT, b'{"specversion":"0.3","id":"1","source":"/","type":"t"}'),
        (JSON_EVENT, b'{"specversion":1.0,"id":"1","source":"/","type":"t"}'),
        (JSON_EVENT, b'{"specversion":"1.0","id":"","source":"/","type":"t"}'),
        (JSON_EVENT, b'{"specversion":"1.0","id":7,"source":"/","type":"t"}'),
        (JSON_EVENT, b'{"specversion":"1.0","id":"1","type":"t"}'),
        (JSON_EVENT, b"{" + GOOD + b',"Upper":"x"}'),
        (JSON_EVENT, b"{" + GOOD + b',"x":{"a":1}}'),
        (JSON_EVENT, b"{" + GOOD + b',"x":"a\\nb"}'),
        (JSON_EVENT, b"{" + GOOD + b',"x":"' + b"a" * 3000 + b'"}'),
        (JSON_EVENT, b"{" + GOOD + b',"time":"yesterday"}'),
        (JSON_EVENT, b"{" + GOOD + b',"time":"2026-01-01T00:00:00"}'),
        (JSON_EVENT, b"{" + GOOD + b',"data":1,"data_base64":"AQ=="}'),
        (JSON_EVENT, b"{" + GOOD + b',"data_base64":"?"}'),
        (JSON_EVENT, b"{" + GOOD + b',"data":NaN}'),
        (JSON_EVENT, b"{" + GOOD + b',"data":1e400}'),
        (JSON_EVENT, b"{" + GOOD + b',"data":"\\ud800"}'),
        (JSON_EVENT, b"{" + GOOD + b',"data":' + b"[" * 100_000 + b"}"),
        (JSON_EVENT, b"{" + GOOD + b',"data":' + b"9" * 5000 + b"}"),
        ({"content-type": "application/cloudevents-batch+json"}, b"{" + GOOD + b"}"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[" + b",".join([b"{" + GOOD + b"}"] * 1001) + b"]"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "%ff"}, b""),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t", "ce-datacontenttype": "a/b"}, b""),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t", "content-type": "application/json"}, b"{"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "a%0d%0ab"}, b""),
    ],
)  # fmt: skip
def test_what_breaks_the_rules_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(ConnectorError) as caught:
        parse(headers, body)
    assert caught.value.problem.code == "C551"


def test_what_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(ConnectorError) as caught:
        parse(JSON_EVENT, b"[" * (MAX_BODY + 1))
    assert caught.value.problem.code == "C552"


@given(st.binary(max_size=200), st.sampled_from([JSON_EVENT, {"content-type": "application/cloudevents-batch+json"}]))
def test_whatever_comes_is_an_event_or_a_refusal(body: bytes, headers: dict[str, str]) -> None:
    try:
        parse(headers, body)
    except ConnectorError as error:
        assert error.problem.code == "C551"


def test_events_of_two_senders_with_one_id_are_two() -> None:
    assert CloudEvent("1", "/a", "t").identity != CloudEvent("1", "/b", "t").identity
    assert len(CloudEvent("1" * 500, "/a", "t").identity) == 64
