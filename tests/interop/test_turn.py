"""The embedded STUN and TURN server against coturn's own tools, as a server of its own without rooms; and against strangers."""

import contextlib
import pathlib
import re
import secrets
import socket
import struct
import subprocess
import threading
import time
import urllib.request

import pytest

import turn_client
from conftest import PATIENCE, free_port, running
from processes import stop
from turn_client import ALLOCATE

SECRET = "north by north-west"


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


@contextlib.contextmanager
def peer_at(ip):
    """Sends back what it gets; uclient's peers for RTP and RTCP are neighbours."""
    while True:
        port = free_port(socket.SOCK_DGRAM)
        kind = socket.AF_INET6 if ":" in ip else socket.AF_INET
        with socket.socket(kind, socket.SOCK_DGRAM) as neighbour, contextlib.suppress(OSError):
            neighbour.bind((ip, port + 1))
            break
    process = subprocess.Popen(["turnutils_peer", "-L", ip, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        stop(process)


@pytest.fixture
def peer():
    with peer_at("127.0.0.1") as port:
        yield port


def uclient(turn, peer, *flags, login=("-u", "phone", "-w", "1234"), messages=10, secure=False, patience=90, to="127.0.0.1", server="127.0.0.1"):
    """What coturn's client says; it ends by itself when its messages are back, or were lost."""
    port = turn.tls_port if secure else turn.port
    peers = ["-e", to, "-r", str(peer)] if peer else []
    command = ["turnutils_uclient", "-p", str(port), *login, "-n", str(messages), *peers, *flags, server]
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


HAS_IPV6 = pathlib.Path("/proc/net/if_inet6").exists()
WITHOUT_IPV6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6, not even on loopback")


@pytest.fixture
def turn6(request, tmp_path):
    """On both families, and relays both."""
    port = free_port(socket.SOCK_STREAM)
    listen = [f"127.0.0.1:{port}", f"[::1]:{port}"]
    own = ["127.0.0.1/32", "::1/128"]
    with serving(request, tmp_path, listen=listen, advertise=["127.0.0.1", "::1"], allow_peers=own) as server:
        server.port = port
        yield server


@contextlib.contextmanager
def echo(ip):
    """Sends each datagram back to whom it came from; its port, and who that was."""
    kind = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(kind, socket.SOCK_DGRAM) as peer:
        peer.bind((ip, 0))
        peer.settimeout(10)
        came = []

        def back():
            with contextlib.suppress(OSError):
                while True:
                    data, sender = peer.recvfrom(2_048)
                    came.append(sender[:2])
                    peer.sendto(data, sender)

        threading.Thread(target=back, daemon=True).start()
        yield peer.getsockname()[1], came


@WITHOUT_IPV6
@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("wanted", "relayed_ip"), [(None, "127.0.0.1"), (turn_client.IPV4, "127.0.0.1"), (turn_client.IPV6, "::1")])
def test_a_client_of_either_family_gets_an_address_of_either(turn6, ip, wanted, relayed_ip):
    """REQUESTED-ADDRESS-FAMILY (RFC 8656 §7): data goes by channel and by indication, both ways."""
    with turn_client.Client((ip, turn6.port)) as client, echo(relayed_ip) as (port, came):
        relayed, code, found = client.allocate(*([turn_client.family(turn_client.FAMILY, wanted)] if wanted else []))
        assert code is None and relayed[0] == relayed_ip
        assert client.address(found[turn_client.XOR_MAPPED]) == client.socket.getsockname()[:2]
        number = struct.pack("!HH", 0x4001, 0)
        assert client.ask(turn_client.BIND, turn_client.attribute(turn_client.CHANNEL_NUMBER, number), turn_client.peer(relayed_ip, port))[1] is None
        for size in (1, 7, 1_200):
            data = secrets.token_bytes(size)
            client.socket.send(struct.pack("!HH", 0x4001, size) + data)
            assert client.socket.recv(2_048) == struct.pack("!HH", 0x4001, size) + data
        assert came == [relayed] * 3, "the peer sees the relayed address"
        # A peer beside the channel's: permissions are for addresses, without ports.
        with echo(relayed_ip) as (other, _):
            transaction = secrets.token_bytes(12)
            text = b"by indication"
            told = turn_client.peer(relayed_ip, other)(transaction) + turn_client.attribute(turn_client.PAYLOAD, text)
            client.socket.send(turn_client.message(turn_client.SEND, told, transaction))
            answer = client.socket.recv(2_048)
            found = turn_client.read(answer)
            assert answer[:2] == struct.pack("!H", turn_client.DATA) and found[turn_client.PAYLOAD] == text
            assert turn_client.address(found[turn_client.XOR_PEER], answer[8:20]) == (relayed_ip, other)


def test_the_first_packet_of_a_new_allocation_is_relayed(turn):
    """Clients that do not wait: all their requests are there at once, and the relayed address is a moment old."""
    with echo("127.0.0.1") as (port, came):
        for count in range(1, 26):
            with turn_client.Client(("127.0.0.1", turn.port)) as client:
                # Draws the challenge.
                assert client.ask(turn_client.REFRESH, turn_client.attribute(turn_client.LIFETIME, bytes(4)))[1] is None
                channel = turn_client.attribute(turn_client.CHANNEL_NUMBER, struct.pack("!HH", 0x4001, 0))
                for datagram in (
                    client.request(turn_client.ALLOCATE, turn_client.attribute(turn_client.TRANSPORT, bytes([17, 0, 0, 0]))),
                    client.request(turn_client.BIND, channel, turn_client.peer("127.0.0.1", port)),
                    struct.pack("!HH", 0x4001, 5) + b"hello",
                ):
                    client.socket.send(datagram)
                answers = [client.socket.recv(2_048)[:2] for _ in range(3)]
                assert answers == [b"\x01\x03", b"\x01\x09", b"\x40\x01"], answers
                assert len(came) == count
                assert client.ask(turn_client.REFRESH, turn_client.attribute(turn_client.LIFETIME, bytes(4)))[1] is None
    assert turn.metrics()["dropped.unsent"] == 0


@WITHOUT_IPV6
def test_families_that_do_not_fit_are_refused(turn6, turn):
    v4, v6 = (turn_client.family(turn_client.FAMILY, which) for which in (turn_client.IPV4, turn_client.IPV6))
    with contextlib.ExitStack() as opened:
        client = lambda server, ip="127.0.0.1": opened.enter_context(turn_client.Client((ip, server.port)))
        refused = lambda who, *asked: who.ask(*asked)[1]
        six = client(turn6, "::1")
        assert six.allocate(v6)[1] is None
        channel = turn_client.attribute(turn_client.CHANNEL_NUMBER, struct.pack("!HH", 0x4001, 0))
        other = turn_client.peer("127.0.0.1", 9)
        # 443, Peer Address Family Mismatch.
        assert refused(six, turn_client.PERMIT, other) == 443
        assert refused(six, turn_client.PERMIT, turn_client.peer("::1", 9), other) == 443
        assert refused(six, turn_client.BIND, channel, other) == 443
        assert refused(six, turn_client.REFRESH, v4) == 443
        assert refused(six, turn_client.REFRESH, v6) is None
        # An IPv4 address in IPv6's clothes is an IPv4 address.
        assert refused(six, turn_client.PERMIT, turn_client.peer("::ffff:127.0.0.1", 9)) == 443
        four = client(turn6, "::1")
        assert four.allocate()[1] is None
        assert refused(four, turn_client.PERMIT, turn_client.peer("::1", 9)) == 443
        assert refused(four, turn_client.PERMIT, turn_client.peer("::ffff:127.0.0.1", 9)) is None
        # 440, Address Family not Supported: no such family, and one that this server does not relay.
        assert client(turn6).allocate(turn_client.family(turn_client.FAMILY, 3))[1] == 440
        assert client(turn).allocate(v6)[1] == 440
        # Both at once: one is given, and the answer says which was not (RFC 8656 §7.2).
        second = turn_client.family(turn_client.SECOND_FAMILY, turn_client.IPV6)
        relayed, code, found = client(turn6).allocate(second)
        assert (relayed[0], code) == ("127.0.0.1", None)
        assert found[turn_client.ADDRESS_ERROR][0] == turn_client.IPV6 and found[turn_client.ADDRESS_ERROR][2:4] == bytes([4, 40])
        assert client(turn6).allocate(v6, second)[1] == 400
        assert client(turn6).allocate(turn_client.family(turn_client.SECOND_FAMILY, turn_client.IPV4))[1] == 400


@WITHOUT_IPV6
@pytest.mark.parametrize("flags", [["-x"], ["-x", "-s"], ["-x", "-t"], []], ids=["udp", "udp-send", "tcp", "to-ipv4"])
def test_coturns_client_comes_over_ipv6(turn6, flags):
    to = "::1" if flags else "127.0.0.1"
    with peer_at(to) as peer:
        assert_all_back(uclient(turn6, peer, "-c", *flags, to=to, server="::1"), 10)


def request_of(kind, attributes=b""):
    return turn_client.message(kind, attributes)


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
