"""Which addresses a connection may call: resolved once, judged, and then connected to, so that nothing can change between.

A name must resolve to public addresses only, unless the connection lists it under `hosts`. An address written out in the
usual form may be private (it can be seen in a review); odd spellings, link-local and metadata addresses may not.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Collection
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")))
_NUMBERS = re.compile(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+)){0,3}\.?", re.IGNORECASE)
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")


class ForbiddenAddress(Exception):
    """The address may not be called. The text says which, and what to write instead."""


def inner(address: IPAddress) -> IPAddress:
    """The IPv4 address inside a mapped, NAT64, 6to4 or Teredo one; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def never(address: IPAddress) -> bool:
    """Whether nobody may call it: metadata, link-local, unspecified, multicast."""
    return (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.version == 4 and int(address) >> 24 == 0)
    )


def literal(host: str) -> IPAddress | None:
    """The address that a host writes out; None for a name. Raises ForbiddenAddress for odd spellings."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        if _NUMBERS.fullmatch(host) or ":" in host or "%" in host:
            raise ForbiddenAddress(f"{host!r} is an odd way to write an address; write it as 192.0.2.1") from None
        return None
    if inner(address) != address:
        raise ForbiddenAddress(f"{host!r} hides another address; write {inner(address)}")
    return address


def host_of(url: str) -> tuple[str, int, bool]:
    """(host, port, whether TLS) of a web address. Raises ForbiddenAddress for what is none."""
    if re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise ForbiddenAddress("it holds a blank, a control character or a backslash")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ForbiddenAddress("the port is no number from 1 to 65535") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ForbiddenAddress("it does not start with https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ForbiddenAddress("it holds a user name or password; write them under `auth`")
    if literal(host) is None and not _NAME.fullmatch(_ascii(host)):
        raise ForbiddenAddress(f"{host!r} is no host name")
    tls = parts.scheme == "https"
    return _ascii(host), port or (443 if tls else 80), tls


def _ascii(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise ForbiddenAddress(f"{host!r} is no host name") from None


def allowed(host: str, found: Collection[IPAddress], hosts: Collection[str]) -> list[IPAddress]:
    """The addresses of a host that may be called; all of them, or none. Raises ForbiddenAddress."""
    written, listed = literal(host), host in hosts or host == "localhost"
    for address in found:
        plain = inner(address)
        if never(plain) and not listed:
            way = f"{host} is an address" if written is not None else f"{host} leads to {plain}, an address"
            raise ForbiddenAddress(f"{way} that no connection may call")
        if written is None and not listed and not plain.is_global:
            raise ForbiddenAddress(
                f"{host} leads to {plain}, a private address; if that is meant, list it under `hosts`"
            )
    return list(found)


def connect(host: str, port: int, hosts: Collection[str], deadline: float) -> socket.socket:
    """A connected socket to one of the host's addresses.

    Raises ForbiddenAddress; OSError (with `socket.gaierror` for unknown names, TimeoutError after the deadline).
    """
    last: OSError | None = None
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {info[4]: ipaddress.ip_address(str(info[4][0]).split("%")[0]) for info in infos}
    allowed(host, addresses.values(), hosts)
    for info in infos:
        made = socket.socket(info[0], info[1], info[2])
        try:
            made.settimeout(max(0.001, min(deadline - time.monotonic(), 10)))
            made.connect(info[4])
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            made.close()
            last = error
            continue
        return made
    raise last or OSError(f"{host} has no address")
