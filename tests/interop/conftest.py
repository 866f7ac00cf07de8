"""The server under test: the built `weir`, on free ports."""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import hmac
import itertools
import json
import os
import pathlib
import re
import secrets
import socket
import subprocess
import threading
import time
import urllib.request
from typing import Callable

import pytest

from processes import stop

ROOT = pathlib.Path(__file__).parents[2]
BINARY = os.environ.get("WEIR_TEST_BINARY", ROOT / "target/debug/weir")
ARTIFACTS = pathlib.Path(os.environ.get("WEIR_TEST_ARTIFACTS", ROOT / "tests/artifacts"))
PATIENCE = 20


@dataclasses.dataclass
class Server:
    # Where the web app is, as http://localhost:8080.
    base: str
    # Where its media sockets are.
    ip: str
    # A token by room and identity.
    token: Callable[[str, str], str]


@pytest.fixture
def dev_server(request):
    """`weir dev`: all on loopback, tokens for whoever asks."""
    with dev(request, "--single") as servers:
        yield servers[0]


@pytest.fixture
def dev_regions(request):
    """The same in three regions, with the delay that lies between them."""
    with dev(request) as servers:
        yield servers


@contextlib.contextmanager
def dev(request, *arguments):
    """One server for each page that `weir dev` says it has."""
    with running(request, "dev", *arguments, "--port", "0", stdout=subprocess.PIPE) as process:
        # One that hangs before it says its addresses is killed, which ends the reading.
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        lines = itertools.takewhile(lambda line: "Ctrl-C" not in line, process.stdout)
        found = [address for line in lines for address in re.findall(r"http://localhost:\d+", line)]
        watchdog.cancel()
        assert found, "`weir dev` did not say where it is; see its log"
        yield [Server(base, "127.0.0.1", functools.partial(dev_token, base)) for base in found]


def dev_token(base, room, name):
    body = json.dumps({"room": room, "name": name, "identity": name}).encode()
    asked = urllib.request.Request(base + "/v1/dev/token", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as response:
        return json.load(response)["token"]


@pytest.fixture
def own_address_server(request):
    """`weir serve` with its media on this machine's own address, for clients whose ICE leaves loopback out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: it only asks which address packets would leave from.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        ip = probe.getsockname()[0]
    http, admin, tcp = (free_port(socket.SOCK_STREAM) for _ in range(3))
    key, secret = "interop", secrets.token_hex(32)
    settings = {
        "http.listen": f"127.0.0.1:{http}",
        "admin.listen": f"127.0.0.1:{admin}",
        "media.listen_ip": ip,
        "media.udp_port": free_port(socket.SOCK_DGRAM),
        "media.tcp_port": tcp,
        "media.shards": 1,
        f"auth.keys.{key}": secret,
    }
    variables = {"WEIR_" + name.replace(".", "__").upper(): str(value) for name, value in settings.items()}
    variables[f"WEIR_AUTH__KEYS__{key}"] = variables.pop(f"WEIR_AUTH__KEYS__{key.upper()}")
    with running(request, "serve", env={**os.environ, **variables}) as process:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", http), 1):
                break
            assert process.poll() is None and time.monotonic() < deadline, "`weir serve` does not; see its log"
            time.sleep(0.05)
        yield Server(f"http://localhost:{http}", ip, lambda room, name: minted(key, secret, room, name))


def minted(key, secret, room, name):
    """A token as an application makes it."""
    claims = {"iss": key, "sub": name, "name": name, "exp": int(time.time()) + 300}
    claims["video"] = {"room": room, "roomJoin": True}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(map(base64url, parts))
    return b".".join([signed, base64url(hmac.digest(secret.encode(), signed, hashlib.sha256))]).decode()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def running(request, *arguments, **options):
    """The server's process, its log kept, stopped at the end as an operator would."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with open(ARTIFACTS / f"{request.node.name}.weir.log", "wb") as log:
        command = [BINARY, *arguments, "--log", "info,weir=debug"]
        process = subprocess.Popen(command, stderr=log, text=True, **options)
        try:
            yield process
        finally:
            stopped = stop(process)
            if process.stdout:
                process.stdout.close()
            if not stopped:
                pytest.fail("weir did not stop when asked to")
