"""``run_tasks``: an error ends a run at once, whatever is still to be done."""

import subprocess
import sys
from pathlib import Path

TASKS = """
import sys
from investigate.store.compute import Engine, run_tasks
from investigate.store.errors import InputError


def fail(task, lease):
    raise InputError("the first one failed")
    yield


def main():
    # Each task is larger than what a pipe holds, so most of them wait to be sent when the first fails.
    try:
        list(run_tasks(fail, ["x" * 1_000_000] * 50, first_id=1, engine=Engine(2)))
    except InputError as error:
        print(error)
"""


def test_an_error_ends_the_process_though_tasks_are_left(tmp_path: Path) -> None:
    (tmp_path / "failing_tasks.py").write_text(TASKS)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import failing_tasks; failing_tasks.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "the first one failed\n"
