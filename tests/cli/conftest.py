"""What tests of the screen share: a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable

import pytest

OnATerminal = Callable[..., str]


@pytest.fixture
def on_a_terminal() -> OnATerminal:
    """``on_a_terminal(program, n_columns, *arguments)``: what Python code shows on a terminal so wide, without its
    colours."""

    def show(program: str, n_columns: int, *arguments: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, n_columns, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        child = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm"},
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # what Linux says when the other side is closed
            pass
        os.close(ours)
        assert child.wait() == 0, shown.decode()
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r", "")

    return show
