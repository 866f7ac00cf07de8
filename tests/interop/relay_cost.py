"""What a relayed packet costs weir and coturn, in turns in one run: microseconds of the server's CPU, user and kernel.

    python tests/interop/relay_cost.py [--rounds 5] [--binary target/release/weir]

coturn's own client sends channel data through each, over loopback, and its own peer sends it back: each message is relayed twice. Both relay
on one thread. Needs the Debian package coturn, a release build, and a machine with nothing else to do: what else runs moves both figures.
"""

import argparse
import contextlib
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).parents[2]
LOGIN = ["-u", "phone", "-w", "1234"]
CLIENTS, MESSAGES, BYTES = 20, 2_000, 1_000


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def cpu_seconds(pid):
    """Of all its threads, to the nanosecond."""
    return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


@contextlib.contextmanager
def started(command):
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def weir(binary, directory):
    port, admin = free_port(), free_port()
    file = pathlib.Path(directory) / "weir.toml"
    file.write_text(
        f'[node]\nrole = "core"\n[admin]\nlisten = "127.0.0.1:{admin}"\n[turn]\nlisten = ["127.0.0.1:{port}"]\n'
        f'advertise = ["127.0.0.1"]\nallow_peers = ["127.0.0.1/32"]\nrealm = "example.org"\nuser_allocations = 100\n'
        f'allocation_kbps = 0\nuser_kbps = 0\n[turn.users]\nphone = "1234"\n'
    )
    with started([binary, "serve", "--config", file]) as process:
        wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{admin}/healthz", timeout=1), process)
        yield process, port


@contextlib.contextmanager
def coturn(_, directory):
    port = free_port()
    command = ["turnserver", "-n", "--lt-cred-mech", "--user=phone:1234", "--realm=example.org", "--listening-ip=127.0.0.1"]
    command += ["--relay-ip=127.0.0.1", f"--listening-port={port}", "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli"]
    command += ["--relay-threads=1", "--log-file=/dev/null", f"--userdb={directory}/turndb", f"--pidfile={directory}/pid"]
    with started(command) as process:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process)
        yield process, port


def wait_for(ready, process):
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError):
            ready()
            return
        assert process.poll() is None and time.monotonic() < deadline, "the server does not start"
        time.sleep(0.1)


def cost(server, binary, peer):
    """Microseconds of CPU for each relayed packet, and the share of messages that came back."""
    with tempfile.TemporaryDirectory() as directory, server(binary, directory) as (process, port):
        load = ["turnutils_uclient", "-p", port, *LOGIN, "-c", "-m", CLIENTS, "-n", MESSAGES, "-l", BYTES, "-z", 1]
        command = [str(part) for part in [*load, "-e", "127.0.0.1", "-r", peer, "127.0.0.1"]]
        before = cpu_seconds(process.pid)
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180).stdout
        spent = cpu_seconds(process.pid) - before
        sent, received = map(int, re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", said)[-1])
        assert sent and received, said[-2_000:]
        return spent / (sent + received) * 1e6, received / sent


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--binary", default=ROOT / "target/release/weir")
    asked = asked.parse_args()
    peer = free_port(socket.SOCK_DGRAM)
    found = {weir: [], coturn: []}
    with started(["turnutils_peer", "-L", "127.0.0.1", "-p", peer]):
        for _ in range(asked.rounds):
            for server, figures in found.items():
                spent, back = cost(server, asked.binary, peer)
                figures.append(spent)
                print(f"{server.__name__:7} {spent:6.2f} µs a relayed packet, {back:.1%} of the messages came back", flush=True)
    means = {server.__name__: statistics.mean(figures) for server, figures in found.items()}
    ratios = [a / b for a, b in zip(found[weir], found[coturn])]
    print(f"weir {means['weir']:.2f} µs, coturn {means['coturn']:.2f} µs; ratio {min(ratios):.2f}-{max(ratios):.2f} ({asked.rounds} rounds)")


if __name__ == "__main__":
    main()
