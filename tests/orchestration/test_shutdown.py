"""Signals, and a run that does not end by itself, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefine_ray.results.heartbeat import mark, read_state

BEGIN = """
import sys, time
from pathlib import Path
from prefine_ray.orchestration.ray_session import shutdown
from prefine_ray.results.heartbeat import Heartbeat
root = Path(sys.argv[1])
"""
OBEYS = """
with shutdown.Guard(root, "Resume with: prefine sweep x") as watched:
    try:
        with Heartbeat(root):
            print("ready", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(watched.say_goodbye("Interrupted: 1 of 2 cells."))
"""
HANGS = """
shutdown.GRACE_S = 0.5
with shutdown.Guard(root, "Resume with: prefine sweep x"), Heartbeat(root):
    try:
        print("ready", flush=True)  # the signal may come before this returns
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(60)  # as where Ray does not answer
"""


def end(program: str, root: Path, number: int, background: bool = False) -> tuple[int, str]:
    """Exit status and output of a program that gets a signal; in the background of a script SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if background else None
    process = subprocess.Popen([sys.executable, "-c", BEGIN + program, str(root)], stdout=subprocess.PIPE, text=True)
    if background:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    return process.wait(60), process.stdout.read()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("background", [False, True])
def test_a_signal_ends_a_run_with_the_command_that_resumes(tmp_path, number, status, background):
    returned, output = end(OBEYS, tmp_path, number, background)
    assert returned == status
    assert output == "Interrupted: 1 of 2 cells.\nResume with: prefine sweep x\n"
    state = read_state(tmp_path)
    assert state is not None
    assert state.phase == "stopped"


def test_a_run_that_hangs_is_ended_in_time(tmp_path):
    begun = time.monotonic()
    returned, output = end(HANGS, tmp_path, signal.SIGTERM)
    assert time.monotonic() - begun < 30
    assert returned == 143
    assert output == "\nInterrupted.\nResume with: prefine sweep x\n"
    state = read_state(tmp_path)
    assert state is not None
    assert state.phase == "stopped"


def test_the_handlers_of_before_are_there_again(tmp_path):
    from prefine_ray.orchestration.ray_session.shutdown import Guard

    before = signal.getsignal(signal.SIGTERM)
    with Guard(tmp_path, "Resume"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_marking_leaves_a_folder_without_a_state_alone(tmp_path):
    mark(tmp_path, "lost")
    assert os.listdir(tmp_path) == []
