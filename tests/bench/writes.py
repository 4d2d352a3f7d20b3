"""Writes over HTTP at 20 ms latency, 50 at once: the share of what latency and concurrency allow, and CPU a request.

python tests/bench/writes.py [requests]
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from connectors.rest.connector import RestConfig, RestConnector
from engine.run.permits import SharedPermits
from engine.sdk.config import ConnectionContext
from engine.sdk.connector import Operation
from engine.sdk.manifest import Manifest
from engine.sdk.record import encode_json
from engine.state.store import Store

LATENCY, AT_ONCE = 0.02, 50
CEILING = AT_ONCE / LATENCY
SYSTEM = r"""
import asyncio
BODY = b'{"id":"1","success":true,"errors":[]}'
ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY

class System(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.held, self.loop = transport, b"", asyncio.get_running_loop()

    def data_received(self, data):
        self.held += data
        head = self.held.find(b"\r\n\r\n")
        length = int(self.held[:head].lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if head > 0 else 0
        if head > 0 and len(self.held) >= head + 4 + length:
            self.held = self.held[head + 4 + length:]
            self.loop.call_later(LATENCY, self.transport.write, ANSWER)

async def main():
    server = await asyncio.get_running_loop().create_server(System, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
RECORD = {"Name": "Été & Söhne", "Phone": "+44 20 7946 0000", "BillingCity": "London", "Notes__c": "x" * 300}


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, CPU seconds) of the work."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def bare(port: int, count: int) -> Callable[[], object]:
    """The reference: threads with the standard library's client, nothing else."""
    local, body = threading.local(), encode_json(RECORD)

    def one(_: int) -> None:
        client = getattr(local, "client", None)
        if client is None:
            client = local.client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("POST", "/things", body, {"Content-Type": "application/json", "Authorization": "Bearer t"})
        client.getresponse().read()

    def work() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, range(count)))

    return work


def connector(port: int, permits: SharedPermits) -> RestConnector:
    manifest = Manifest.model_validate({
        "connector": "x", "base": f"http://127.0.0.1:{port}", "auth": {"kinds": ["bearer"]},
        "errors": [{"when": "status == `401`", "do": "refresh_then_retry"}, {"when": "status == `503`", "do": "in_doubt"}],
        "objects": {"things": {"create": {"post": "/things", "body": "@record", "id": "body.id"}, "marker": "Ref__c"}},
    })  # fmt: skip
    given = {"connector": "x", "manifest": manifest, "auth": {"token": "t"}, "limits": {"concurrency": AT_ONCE}}
    return RestConnector(RestConfig.model_validate(given), ConnectionContext("x", permits=permits))


def main(count: int = 5000) -> None:
    system = subprocess.Popen(
        [sys.executable, "-c", SYSTEM.replace("LATENCY", str(LATENCY))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert system.stdout is not None
        port = int(system.stdout.readline())
        operations = [Operation(str(n), "create", RECORD, mark=str(n)) for n in range(count)]
        with TemporaryDirectory() as folder, closing(Store.open("sqlite:///state.db", Path(folder))) as store, \
             connector(port, SharedPermits(store)) as ours:  # fmt: skip
            ours.write("things", operations[:200])
            best = max((timed(lambda: ours.write("things", operations)) for _ in range(3)), key=lambda one: -one[0])
        reference = max((timed(bare(port, count)) for _ in range(3)), key=lambda one: -one[0])
    finally:
        system.kill()
        system.wait()
    for name, (wall, cpu) in (("connector", best), ("bare http.client", reference)):
        rate = count / wall
        print(
            f"writes over HTTP, {name}: {rate:,.0f}/s, {rate / CEILING:.0%} of the ceiling of {CEILING:,.0f}/s, {cpu / count * 1e6:.0f} µs CPU a request"
        )
    share = reference[0] / best[0]
    print(
        f"writes over HTTP: {share:.0%} of the bare client's speed (goals: ≥ 90% of the ceiling, ≤ 500 µs CPU a request)"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
