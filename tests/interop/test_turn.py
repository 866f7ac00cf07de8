"""The embedded STUN and TURN server against coturn's own tools, as a server of its own without rooms; and against strangers."""

import contextlib
import pathlib
import re
import secrets
import socket
import struct
import subprocess
import time
import urllib.request

import pytest

from conftest import PATIENCE, free_port, running
from processes import stop

SECRET = "north by north-west"
MAGIC = bytes.fromhex("2112a442")
ALLOCATE = 0x0003


class Turn:
    def __init__(self, process, port, tls_port, admin):
        self.pid, self.port, self.tls_port, self.admin = process.pid, port, tls_port, admin

    def metrics(self):
        """Each figure of the relay by its name, with its reason if it has one."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        found = (re.fullmatch(r'weir_turn_(\w+?)(?:_total)?(?:\{reason="(\w+)"\})? (\d+)', line) for line in lines)
        return {match[1] + (f".{match[2]}" if match[2] else ""): int(match[3]) for match in found if match}

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


@contextlib.contextmanager
def serving(request, directory, **settings):
    """`weir serve` with a relay and no rooms, as docs/turn.md has it."""
    port, tls_port, admin = (free_port(socket.SOCK_STREAM) for _ in range(3))
    certificate, key = directory / "cert.pem", directory / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    made = subprocess.run([*make, "-subj", "/CN=localhost", "-keyout", key, "-out", certificate], capture_output=True)
    assert made.returncode == 0, made.stderr
    turn = {
        "listen": [f"127.0.0.1:{port}"],
        "tls_listen": [f"127.0.0.1:{tls_port}"],
        "tls_cert": str(certificate),
        "tls_key": str(key),
        "host": "localhost",
        "advertise": ["127.0.0.1"],
        "realm": "example.org",
        "secret": SECRET,
        **settings,
    }
    text = lambda value: str(value) if isinstance(value, int) else str(value).replace("'", '"') if isinstance(value, list) else f'"{value}"'
    keys = "\n".join(f"{name} = {text(value)}" for name, value in turn.items())
    file = directory / "weir.toml"
    file.write_text(f'[node]\nrole = "core"\n[admin]\nlisten = "127.0.0.1:{admin}"\n[turn]\n{keys}\n[turn.users]\nphone = "1234"\n')
    with running(request, "serve", "--config", str(file)) as process:
        server = Turn(process, port, tls_port, admin)
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                server.metrics()
                break
            assert process.poll() is None and time.monotonic() < deadline, "`weir serve` does not; see its log"
            time.sleep(0.05)
        yield server


@pytest.fixture
def turn(request, tmp_path):
    with serving(request, tmp_path, allow_peers=["127.0.0.1/32"]) as server:
        yield server


@pytest.fixture
def peer():
    """Sends back what it gets; uclient's peers for RTP and RTCP are neighbours."""
    while True:
        port = free_port(socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as neighbour, contextlib.suppress(OSError):
            neighbour.bind(("127.0.0.1", port + 1))
            break
    process = subprocess.Popen(["turnutils_peer", "-L", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    stop(process)


def uclient(turn, peer, *flags, login=("-u", "phone", "-w", "1234"), messages=10, secure=False, patience=90):
    """What coturn's client says; it ends by itself when its messages are back, or were lost."""
    port = turn.tls_port if secure else turn.port
    to = ["-e", "127.0.0.1", "-r", str(peer)] if peer else []
    command = ["turnutils_uclient", "-p", str(port), *login, "-n", str(messages), *to, *flags, "127.0.0.1"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=patience)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace")
    return done.stdout


def assert_all_back(said, least):
    counts = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", said)
    sent, received = map(int, counts[-1]) if counts else (0, 0)
    assert sent == received >= least, said[-3_000:]


@pytest.mark.parametrize(
    ("flags", "secure"),
    [
        (["-m", "3"], False),
        (["-s"], False),
        (["-t", "-m", "3"], False),
        (["-t", "-s"], False),
        (["-t", "-S", "-m", "3"], True),
        (["-D", "-G", "-c"], False),
        (["-X", "-l", "1300"], False),
    ],
    ids=["udp", "udp-send", "tcp", "tcp-send", "tls", "udp-padded-again", "udp-large"],
)
def test_messages_come_back_over_each_way_in(turn, peer, flags, secure):
    clients = int(flags[flags.index("-m") + 1]) if "-m" in flags else 1
    # Without -c every second client is the first one's for RTCP, on the port beside it.
    said = uclient(turn, peer, *flags, secure=secure)
    assert_all_back(said, 10 * clients)
    metrics = turn.metrics()
    assert metrics["bytes_to_peers"] == metrics["bytes_to_clients"] > 0
    assert metrics["dropped.forbidden"] == 0


def test_credentials_by_the_shared_secret_and_wrong_ones(turn, peer):
    assert_all_back(uclient(turn, peer, login=("-u", "ada", "-W", SECRET)), 10)
    before = turn.metrics()["allocated"]
    for login in [("-u", "ada", "-W", "another"), ("-u", "phone", "-w", "4321"), ("-u", "nobody", "-w", "1234")]:
        said = uclient(turn, peer, login=login, patience=15)
        assert "tot_recv_msgs=10" not in said
    metrics = turn.metrics()
    assert metrics["refused.unauthorized"] >= 3 and metrics["allocated"] == before


def test_two_clients_reach_each_other_by_their_relays(request, tmp_path):
    # Loopback is not allowed here: relayed addresses are, exactly.
    with serving(request, tmp_path) as turn:
        assert_all_back(uclient(turn, None, "-y", "-m", "2"), 20)
        assert turn.metrics()["dropped.forbidden"] == 0


def test_the_host_is_no_peer_unless_the_operator_says_so(request, tmp_path, peer):
    with serving(request, tmp_path) as turn:
        for flags in (["-c"], ["-c", "-s"], ["-c", "-t"]):
            uclient(turn, peer, *flags, messages=3, patience=20)
        metrics = turn.metrics()
        assert metrics["allocated"] >= 3 and metrics["bytes_to_peers"] == 0
        assert metrics["refused.forbidden"] + metrics["dropped.forbidden"] >= 3


def test_a_user_gets_so_many_allocations(request, tmp_path, peer):
    with serving(request, tmp_path, allow_peers=["127.0.0.1/32"], user_allocations=5) as turn:
        uclient(turn, peer, "-c", "-m", "8", messages=2, patience=20)
        metrics = turn.metrics()
        assert metrics["refused.quota"] > 0 and metrics["allocated"] == 5
        assert_all_back(uclient(turn, peer, "-c", login=("-u", "ada", "-W", SECRET)), 10)


def test_what_coturn_does_to_break_servers_breaks_nothing(turn, peer):
    for flags in (["-N"], ["-R"], ["-O", "-m", "5"], ["-B", "-t"]):
        uclient(turn, peer, *flags, messages=3, patience=20)
    assert_all_back(uclient(turn, peer), 10)


def test_stun_tells_where_clients_are_seen(turn):
    for command in (["turnutils_stunclient", "-p", str(turn.port), "127.0.0.1"], ["turnutils_natdiscovery", "-f", "-p", str(turn.port), "127.0.0.1"]):
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30).stdout
        assert re.search(r"reflexive addr: 127\.0\.0\.1:\d+", said), said


def request_of(kind, attributes=b""):
    return struct.pack("!HH", kind, len(attributes)) + MAGIC + secrets.token_bytes(12) + attributes


def test_strangers_cost_no_memory(turn):
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
    with contextlib.ExitStack() as open_sockets:
        for one in sockets:
            open_sockets.enter_context(one).settimeout(5)
            one.connect(("127.0.0.1", turn.port))
        allocate = request_of(ALLOCATE, struct.pack("!HHI", 0x0019, 4, 17 << 24))

        def flood(requests):
            answered = 0
            for turn_of in range(requests // len(sockets)):
                for one in sockets:
                    one.send(allocate)
                for one in sockets:
                    with contextlib.suppress(TimeoutError):
                        answer = one.recv(2_048)
                        answered += 1
                        assert len(answer) <= 4 * len(allocate)
            return answered

        flood(5_000)
        before = turn.resident_kib()
        answered = flood(100_000)
    metrics = turn.metrics()
    assert answered > 95_000 and metrics["challenges"] >= answered
    assert metrics["allocations"] == metrics["users"] == 0
    after = turn.resident_kib()
    print(f"{before} KiB became {after} KiB")
    assert after < before + 2_048, f"{before} KiB became {after} KiB"


def test_strangers_who_read_nothing_cost_no_memory(turn):
    before = turn.resident_kib()
    binding = request_of(0x0001) * 1_000
    with contextlib.ExitStack() as held:
        for _ in range(100):
            one = held.enter_context(socket.create_connection(("127.0.0.1", turn.port), 10))
            one.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError, ConnectionError):
                for _ in range(1_000):
                    # Goes on where it was cut off: the server is to understand each request.
                    sent += one.send(binding[sent % len(binding) :])
        deadline = time.monotonic() + PATIENCE
        while turn.metrics()["connections"] > 0:
            assert time.monotonic() < deadline, "who only asks is kept"
            time.sleep(0.1)
        metrics = turn.metrics()
        after = turn.resident_kib()
    assert metrics["refused.connections"] == 100 and metrics["bindings"] <= 100 * 65
    assert after < before + 100 * 64, f"{before} KiB became {after} KiB"


def test_connections_are_counted_and_slow_ones_are_closed(request, tmp_path):
    with serving(request, tmp_path, address_connections=4) as turn, contextlib.ExitStack() as held:
        connect = lambda: held.enter_context(socket.create_connection(("127.0.0.1", turn.port), 10))
        good = connect()
        good.settimeout(10)
        good.sendall(request_of(0x0001))
        assert good.recv(100)[:2] == b"\x01\x01"
        # A message that never ends, and what is no message.
        slow = connect()
        slow.sendall(request_of(ALLOCATE, bytes(100))[:30])
        strange = connect()
        strange.sendall(b"GET / HTTP/1.1\r\n\r\n")
        strange.settimeout(10)
        assert strange.recv(100) == b""
        deadline = time.monotonic() + 10
        while turn.metrics()["connections"] > 2:
            assert time.monotonic() < deadline, "a closed connection is still counted"
            time.sleep(0.1)
        connect(), connect()
        beyond = connect()
        beyond.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert beyond.recv(100) == b"", "one too many"
        assert turn.metrics()["refused.connections"] == 1
        slow.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(100) == b"", "a message has ten seconds to arrive"
        assert turn.metrics()["connections"] == 3
