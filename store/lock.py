"""One writer at a time: a lock that its process holds as long as it lives.

Takes the path of the lock file, which names its holder. Knows nothing of what is written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BusyError, StoreError


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock. Raises BusyError when another process has it, StoreError when the file cannot be made."""
    try:
        file = path.open("a+")
    except OSError as error:
        raise StoreError(
            f"Cannot write in {path.parent}: {error.strerror}. Check its permissions, or use another one with -w DIR."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BusyError(
                f"Process {holder} is writing to {path.parent}; run the command again when it has finished."
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
