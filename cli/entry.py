"""Where the command line starts.

Takes nothing, runs ``main``. A module of its own because every reader process imports the script that was started, and
needs none of the commands.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; see ``cli/main.py``."""
    from .main import main as run

    run()
