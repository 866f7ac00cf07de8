"""The server under test: the built `weir dev`, on free ports."""

import os
import pathlib
import re
import subprocess
import threading

import pytest

BINARY = os.environ.get("WEIR_TEST_BINARY", pathlib.Path(__file__).parents[2] / "target/debug/weir")
ARTIFACTS = pathlib.Path(os.environ.get("WEIR_TEST_ARTIFACTS", pathlib.Path(__file__).parents[1] / "artifacts"))
PATIENCE = 20


@pytest.fixture
def server(request):
    """Where the web app is, as http://localhost:8080."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with open(ARTIFACTS / f"{request.node.name}.weir.log", "wb") as log:
        command = [BINARY, "dev", "--port", "0", "--log", "info,weir=debug"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        # One that hangs before it says its address is killed, which ends the reading.
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            found = next((at for at in (re.search(r"http://localhost:\d+", line) for line in process.stdout) if at), None)
            watchdog.cancel()
            assert found, f"`weir dev` did not say where it is; its log is {log.name}"
            yield found[0]
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                pytest.fail("`weir dev` did not stop when asked to")
            finally:
                process.stdout.close()
