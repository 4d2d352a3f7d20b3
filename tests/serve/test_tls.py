"""`serve` speaks TLS: webhooks come in over real HTTPS, plain HTTP gets nothing, and a key of another certificate is refused."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.forks import forks
from tests.run.test_sync import person
from tests.serve.process import Process
from tests.serve.world import TRIGGER, Served, signed, until


def certificate(folder: Path, name: str, password: bytes = b"") -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    told, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(told).issuer_name(told).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    secret = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption_algorithm=secret)
    )
    return files


@pytest.fixture
def secure(served: Served) -> Iterator[tuple[Served, Process, Path]]:
    served.flow("people", TRIGGER)
    served.put("people", [person("1")])
    pem, key = certificate(served.folder, "server")
    process = Process(served.folder, "--certificate", str(pem), "--key", str(key))
    yield served, process, pem
    process.kill()


def call(url: str, pem: Path, body: bytes) -> int:
    """One signed webhook over HTTPS, from a caller that trusts this certificate only."""
    place = urlsplit(url)
    assert place.scheme == "https" and place.hostname is not None
    line = http.client.HTTPSConnection(
        place.hostname, place.port, timeout=30, context=ssl.create_default_context(cafile=str(pem))
    )
    try:
        line.request("POST", "/hooks/src/people", body, signed(body))
        return line.getresponse().status
    finally:
        line.close()


def test_a_webhook_is_taken_over_https_and_nothing_else_is(secure: tuple[Served, Process, Path]) -> None:
    served, process, pem = secure
    body = json.dumps({"events": [{"event": "e1", "id": "1"}]}).encode()
    assert call(process.url, pem, body) == 202
    until(lambda: served.names() == ["Ada"])
    place = urlsplit(process.url)
    plain = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.request("POST", "/hooks/src/people", body, signed(body))
        plain.getresponse()
    plain.close()
    other, _ = certificate(served.folder, "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        call(process.url, other, body)
    assert call(process.url, pem, body) == 202, "it serves on"
    assert process.stop() == 0


@pytest.mark.parametrize("wrong", ["key of another", "no PEM", "with a password"])
def test_a_key_that_does_not_belong_to_the_certificate_is_refused_at_the_start(served: Served, wrong: str) -> None:
    pem, _ = certificate(served.folder, "server")
    _, key = certificate(
        served.folder, "server" if wrong == "with a password" else "other", b"x" if "password" in wrong else b""
    )
    if wrong == "no PEM":
        key.write_text("not a key\n")
    words = ["serve", "--port", "0", "--certificate", str(pem), "--key", str(key)]
    code, _, err = forks().run(served.folder, words, 60)
    assert code == 2 and err.splitlines()[0].startswith("X917 ") and "Traceback" not in err, err
