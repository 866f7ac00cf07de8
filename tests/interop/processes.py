"""Processes of a test, and how they are ended."""

import subprocess

PATIENCE = 10


def stop(process):
    """Asks a process to end, and makes it; whether it was enough to ask."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True
