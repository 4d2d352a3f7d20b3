"""`serve`: schedules, webhooks and the runs that they start, in one process."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.main import Context, common, pass_context
from engine.cli.operate import exit_code, show_runs
from engine.sdk.errors import Problem, SpecError, UsageError

if TYPE_CHECKING:
    from engine.serve.server import Server

STOPPED_AT_ONCE = 130


def _seconds(context: click.Context, option: click.Parameter, value: str) -> float:
    from engine.sdk.config import duration

    try:
        return duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from None


HEARS = 0.2
"""Seconds after which a signal is seen at the latest."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--allow-remote", is_flag=True, help="Listen to other machines too; needs --certificate and --key.")
@click.option("--certificate", type=click.Path(path_type=Path, dir_okay=False), help="TLS certificate chain, PEM.")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="Its private key, PEM.")
@click.option(
    "--grace", default="30s", show_default=True, callback=_seconds, help="Time that runs get when it is stopped."
)
@click.option("--once", is_flag=True, help="Do everything that is due, then exit; no HTTP.")
@common
@pass_context
def serve(context: Context, host: str, port: int, allow_remote: bool, certificate: Path | None, key: Path | None,
          grace: float, once: bool) -> int:  # fmt: skip
    """Run flows when their schedule, a webhook, an event or another flow says so.

    Several of them may share one state on PostgreSQL. SIGTERM and Ctrl-C stop it: runs in hand get --grace to end, then
    they end after their batch and go on at the next start; a second signal stops at once.

    \b
      crosswalk serve
      crosswalk serve --once        for cron
    """
    from engine.serve.log import Log
    from engine.serve.server import Server

    tls = _tls(host, allow_remote, certificate, key)
    _sound(context)
    listening = None if once else _bound(host, port)
    server = Server(context.workspace, context.store, Log())
    stop = _signals()
    if once:
        return _once(context, server, stop)
    assert listening is not None
    server.start(listening, tls)
    place = f"[{host}]" if ":" in host else host
    server.tell("listening", url=f"http{'s' if tls else ''}://{place}:{listening.getsockname()[1]}")
    while not stop.wait(HEARS):  # a signal that another thread is given is seen by this one when it wakes
        pass
    server.stop(grace)
    return 0


def _once(context: Context, server: Server, stop: threading.Event) -> int:
    runs = server.once(stop.is_set)
    told = [{key: value for key, value in one.items() if key != "alerts"} for one in runs]
    context.answer({"runs": told}, lambda: show_runs(told, []) if told else click.echo("nothing was due"))
    return 1 if server.work.gave_up else exit_code([str(one["state"]) for one in told])


def _tls(host: str, allow_remote: bool, certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Certificate and key, where both are there; other machines are listened to with them only."""
    if (certificate is None) != (key is None):
        raise UsageError(
            Problem("X917", "a certificate and its key belong together", None, "give --certificate and --key")
        )
    if not _loopback(host) and not (allow_remote and certificate is not None):
        raise UsageError(
            Problem("X916", f"{host} can be reached from other machines", None,
                    "listen on 127.0.0.1 behind a proxy that speaks TLS, or give --allow-remote, --certificate and --key")
        )  # fmt: skip
    for file in (certificate, key):
        if file is not None and not file.is_file():
            raise UsageError(Problem("X917", f"there is no file {file.name}", None, "give the PEM file's path"))
    if certificate is None or key is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error) or "it cannot be read"
        raise UsageError(Problem("X917", f"{key.name} is no key of the certificate {certificate.name}: {reason}", None,
                                 "give PEM files that belong together; the key without a password")) from None  # fmt: skip
    return certificate, key


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _sound(context: Context) -> None:
    """A server that would start with a broken document would fail in the night instead."""
    from engine.compile.workspace import problems_of

    problems = problems_of(context.workspace)
    if problems:
        raise SpecError(problems)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        why = (error.strerror or "no such address").lower()
        raise UsageError(
            Problem(
                "X918",
                f"nothing can listen on {host}:{port}: {why}",
                None,
                "stop what listens there, or give another --port",
            )
        ) from None
    return listening


def _signals() -> threading.Event:
    """Set by the first signal; the second one ends the process where it stands, which loses nothing."""
    stop = threading.Event()

    def heard(number: int, frame: Any) -> None:
        if stop.is_set():
            os._exit(STOPPED_AT_ONCE)
        stop.set()

    signal.signal(signal.SIGINT, heard)
    signal.signal(signal.SIGTERM, heard)
    return stop
