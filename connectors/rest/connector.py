"""The `rest` connector: interprets a manifest. It knows no system; everything particular is data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from connectors.rest.auth import Authenticator, origin
from connectors.rest.describing import described
from connectors.rest.media import ACCEPT, DECODE, Media
from connectors.rest.reading import Reader
from connectors.rest.shapes import Refusal, filled, judge, told, wait_of
from connectors.rest.webhooks import answer
from connectors.rest.writing import Writer
from engine.sdk.bodies import json_body
from engine.sdk.budget import SystemClock, pause_of
from engine.sdk.config import ConnectionConfig, ObjectSettings, Secret
from engine.sdk.connector import Batch, Connector, FieldInfo, Finding, ObjectInfo, Operation, Outcome, Read
from engine.sdk.errors import ConnectorError, Problem, nearest
from engine.sdk.http import Answer, HttpClient
from engine.sdk.manifest import FieldSpec, Manifest, Modified, ObjectSpec
from engine.sdk.manifest_requests import Request
from engine.sdk.record import JSON, Fields, Record
from engine.sdk.urls import shown
from engine.sdk.webhook import WebhookAnswer, WebhookRequest


class RestConfig(ConnectionConfig):
    """A connection to a system that a manifest describes."""

    manifest: Manifest
    settings: dict[str, Any] = {}
    """Values of the manifest's settings."""
    auth: dict[str, Any] = {}
    """`kind` and its credentials."""
    hosts: list[str] = []
    """Names that may lead to private addresses, such as a system inside the company's network."""
    ca: str | None = None
    """File with certificates of further authorities (PEM), relative to the workspace."""

    @classmethod
    def settings_of(cls, data: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
        """The connection's keys sorted: the manifest's settings under `settings`, the rest as they are."""
        common = set(ConnectionConfig.model_fields) | {"auth"}
        settings = {name: value for name, value in data.items() if name in manifest.settings}
        kept = {name: value for name, value in data.items() if name in common or name not in manifest.settings}
        return {**kept, "manifest": manifest, "settings": settings}


class RestConnector(Connector[RestConfig]):
    """A system over HTTP."""

    name, config_model = "rest", RestConfig

    def __init__(self, config: RestConfig, context: Any) -> None:
        super().__init__(config, context)
        self.manifest = config.manifest
        self.clock = SystemClock()
        self.values = values_of(self.manifest, config.settings)
        missing = [name for name, one in self.manifest.settings.items() if one.required and not self.values.get(name)]
        if missing:
            hint = f"add `{missing[0]}:` ({self.manifest.settings[missing[0]].doc or 'required'})"
            raise ConnectorError(
                "config", Problem("C523", f"connection {context.name!r} has no {missing[0]!r}", None, hint)
            )
        self.left: list[HttpClient] = []
        self.client = self._client(filled(self.manifest.base, self.values))
        self.auth = Authenticator(
            context, self.manifest.auth, config.auth, lambda text: filled(text, self.values), self._token_client, self._moved
        )  # fmt: skip

    def close(self) -> None:
        self.auth.close()
        for client in (self.client, *self.left):
            client.close()

    def _client(self, base: str) -> HttpClient:
        limits, config = self.manifest.limits, self.config
        if urlsplit(base).scheme not in ("http", "https"):
            raise ConnectorError("config", Problem("C524", f"connection {self.context.name!r}: {base!r} is no web address", None,
                                                   "start it with https://"))  # fmt: skip
        client = HttpClient(
            self.context.name, base, config, rate=limits.requests, concurrency=limits.concurrency or 200, hosts=config.hosts,
            ca=str(self.context.path(config.ca)) if config.ca else None, permits=self.context.permits,
        )  # fmt: skip
        client.after = self._heard
        return client

    def _token_client(self, url: str) -> HttpClient:
        """A client for the token address: it may be another host, and has its own pool."""
        return self._client(origin(url))

    def _moved(self, where: str) -> None:
        """The token reply named the address to call; from TLS to none is no way to go."""
        if where.rstrip("/") == str(self.values.get("url") or "").rstrip("/"):
            return
        if urlsplit(self.client.base).scheme == "https" and urlsplit(where).scheme != "https":
            raise ConnectorError("bad_response", Problem(
                "C511", f"connection {self.context.name!r}: the token reply leads to {shown(where)}, without TLS", None,
                "see `auth.instance` of the manifest",
            ))  # fmt: skip
        self.values = {**self.values, "url": where.rstrip("/")}
        self.left.append(self.client)
        self.client = self._client(filled(self.manifest.base, self.values))

    def _heard(self, answer: Answer) -> None:
        """Every answer: the system's clock; and a stop before the system stops us, where nothing is left of the quota."""
        self.clock.heard(answer.headers.get("date"))
        limits = self.manifest.limits
        wait = pause_of(answer.headers, limits.remaining, limits.reset, limits.reset_in)
        if wait is not None:
            self.client.budget.pause(wait)

    def webhook(self, request: WebhookRequest) -> WebhookAnswer:
        if self.manifest.webhooks is None:
            return super().webhook(request)
        return answer(self.context.name, self.manifest.webhooks, self.config.settings, request)

    def objects(self) -> list[str]:
        return sorted(self.manifest.objects)

    def spec(self, name: str) -> ObjectSpec:
        """The manifest's part for an object. Raises ConnectorError C504."""
        found = self.manifest.objects.get(name)
        if found is None:
            hint = nearest(name, self.manifest.objects)
            raise ConnectorError(
                "config", Problem("C504", f"{self.manifest.connector} has no object {name!r}", None, hint)
            )
        given = self.config.objects.get(name)
        return found if given is None else self._overridden(name, found, given)

    def _overridden(self, name: str, spec: ObjectSpec, given: ObjectSettings) -> ObjectSpec:
        """The object with the connection's own `key` and `modified`. Raises ConnectorError C505."""
        changes: dict[str, Any] = {}
        if given.key is not None:
            changes["key"] = [given.key] if isinstance(given.key, str) else given.key
        if given.modified is not None and (spec.modified is None or given.modified != spec.modified.field):
            if spec.read is not None and spec.read.query is None:
                known = f"by {spec.modified.field!r}" if spec.modified else "whole"
                raise ConnectorError("config", Problem(
                    "C505", f"{self.manifest.connector} cannot read {name} by {given.modified!r}", None,
                    f"it is read {known}: leave `modified` or `incremental` out"))  # fmt: skip
            changes["modified"] = Modified(
                **{**(dict(spec.modified) if spec.modified else {}), "field": given.modified}
            )
        return spec.model_copy(update=changes)

    def check(self) -> list[Finding]:
        """One cheap request with credentials."""
        try:
            request = self.manifest.check
            if request is not None:
                url = self.address(request, {})
                self.answered(request.method, url, body=request.body, headers=request.headers, patient=False)
            else:
                name = next(iter(self.manifest.objects))
                next(iter(self.read(Read(name, page=1))), None)
        except ConnectorError as error:
            return [Finding(False, error.problem.message, error.problem.hint)]
        return [Finding(True, f"{self.manifest.connector} answers; credentials are accepted")]

    def describe(self, name: str) -> ObjectInfo:
        spec = self.spec(name)
        kinds = ("create", "update", "upsert", "delete")
        operations = {
            kind for kind in kinds if getattr(spec, kind) is not None or kind in spec.batch or kind in spec.jobs
        }
        operations |= {"read"} if spec.read else set()
        operations |= {"find"} if spec.find else set()
        fields = tuple(_field(field, given) for field, given in spec.fields.items())
        batches = [one.size for one in spec.batch.values()] + [one.size for one in spec.jobs.values()]
        return ObjectInfo(
            name, tuple(spec.key), fields, modified=spec.modified.field if spec.modified else None,
            modified_type=spec.modified.type if spec.modified else "instant", ordered=spec.ordered,
            operations=frozenset(operations), partial=spec.partial, write_class=spec.class_,
            late=spec.late.total_seconds(), index=spec.index.total_seconds(),
            key_life=spec.idempotency.life.total_seconds() if spec.idempotency else 0.0,
            marker=spec.marker.field if spec.marker else None,
            matches=tuple(spec.find.by) if spec.find and spec.find.by else None,
            tombstones=spec.deletes.kind != "none", slices=tuple(spec.slices), max_batch=max(batches) if batches else 200,
            per_call={kind: one.size for kind, one in spec.batch.items()},
        )  # fmt: skip

    def metadata(self, name: str) -> ObjectInfo:
        return described(self, self.describe(name))

    def now(self) -> datetime:
        """The system's clock by its last answer, to the second; ours where it has not told."""
        return self.clock.now()

    # ------------------------------------------------------------------ requests
    def address(self, request: Request, values: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> str:
        """A request's address with settings and fields put in."""
        self.auth.prepare()
        known = {**self.values, **values}
        given = {name: filled(str(value), known) for name, value in request.params.items()}
        return self.client.url(filled(request.path, known, path=True), {**given, **(params or {})})

    def send(
        self, method: str, url: str, *, body: JSON = None, data: bytes | None = None, headers: Mapping[str, str] | None = None,
        send_by: float | None = None, media: Media = "json",
    ) -> Answer:  # fmt: skip
        """One request with credentials; a refused token is renewed once."""
        if isinstance(body, str) and "json" not in {**self.manifest.headers, **(headers or {})}.get(
            "Content-Type", "json"
        ):
            data = body.encode()  # an envelope as the manifest writes it
        elif body is not None:
            data = json_body(body)
        for again in (True, False):
            auth = self.auth.headers(method, url)
            sent = {"Accept": ACCEPT[media], **self.manifest.headers, **(headers or {}), **auth}
            sent |= {"Content-Type": sent.get("Content-Type", "application/json")} if data is not None else {}
            answer = self.client.send(method, url, headers=sent, body=data, send_by=send_by, decode=DECODE[media])
            renewable = again and self.auth.renewable
            if not renewable or judge(self.manifest, answer)[0] != "refresh_then_retry":
                return answer
            self.auth.refuse(auth.get(self.manifest.auth.header))
        raise AssertionError("unreachable")

    def answered(
        self,
        method: str,
        url: str,
        *,
        body: JSON = None,
        headers: Mapping[str, str] | None = None,
        media: Media = "json",
        patient: bool = True,
    ) -> Answer:
        """A reading request with a good answer; transient trouble is tried again, if `patient`. Raises ConnectorError."""

        def once() -> Answer:
            answer = self.send(method, url, body=body, headers=headers, media=media)
            do, rule = judge(self.manifest, answer)
            if do in ("success", "ignore", "empty"):
                return answer
            wait = wait_of(rule, answer)
            troubles: dict[str, Any] = {"rate_limited": "rate_limited", "retry": "server", "in_doubt": "server",
                                        "refresh_then_retry": "auth"}  # fmt: skip
            trouble = troubles.get(do, "refused")
            if trouble == "rate_limited":
                self.client.slow_down(wait)
            code = "C521" if trouble == "auth" else "C531"
            message = f"connection {self.context.name!r}: {urlsplit(url).path} answered {answer.status}: {told(self.manifest, answer)}"
            raise Refusal(trouble, Problem(code, message, None, "see the system's message"), do, wait)

        return self.client.retried(once) if patient else once()

    def empty(self, answer: Answer) -> bool:
        """Whether a good answer to a list says that there are no records."""
        return judge(self.manifest, answer)[0] == "empty"

    # ------------------------------------------------------------------ the contract
    def read(self, request: Read) -> Iterator[Batch]:
        return Reader(self, request.object).read(request)

    def find(self, name: str, by: Sequence[Fields], fields: tuple[str, ...] = ()) -> list[list[Record]]:
        return Reader(self, name).find(by, fields)

    def get(self, name: str, keys: Sequence[str], fields: tuple[str, ...] = ()) -> dict[str, Record]:
        return Reader(self, name).get(keys, fields)

    def write(self, name: str, operations: Sequence[Operation]) -> list[Outcome]:
        return Writer(self, name).write(operations)

    def outcomes(self, name: str, job: str, operations: Sequence[Operation], *, uploaded: bool) -> list[Outcome] | None:
        return Writer(self, name).of_job(job, operations, uploaded=uploaded)


def _field(name: str, given: FieldSpec) -> FieldInfo:
    return FieldInfo(
        name, given.type, required=given.required, writable=given.writable, on_create_only=given.on_create,
        max_length=given.max_length, scale=given.scale, values=tuple(given.values) if given.values else None,
        references=tuple(given.references), label=given.label,
    )  # fmt: skip


def values_of(manifest: Manifest, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as requests use them: what the connection gives, else the default, spelled as the manifest says."""
    values: dict[str, Any] = {}
    for name, one in manifest.settings.items():
        value = given.get(name)
        if value is None:
            known = {other: text for other, text in values.items() if text}
            missing = isinstance(one.default, str) and not set(re.findall(r"\{(\w+)\}", one.default)) <= known.keys()
            value = None if missing else filled(one.default, known) if isinstance(one.default, str) else one.default
        elif isinstance(value, Secret):
            value = value.reveal()
        values[name] = _SPELLED[one.form](str(value)) if one.form != "text" and value is not None else value
    return values


_SPELLED: dict[str, Callable[[str], str]] = {
    "host": lambda text: text.lower().replace("_", "-"),
    "upper": str.upper,
    "lower": str.lower,
}
