"""The benchmark of ingest, run by hand on a machine that does nothing else.

    python tests/bench/ingest.py --peers VENV/bin/python [--only PART] [--gb 1] [--log]

    chat      against DuckDB's COPY of chat JSON Lines to Parquet
    datasets  against load_dataset("json")
    inspect   against read_eval_log of Inspect .eval logs
    memory    the peak of all our processes together
    again     the second ingest of the same file
    lookup    2,000 small files, one episode of them, 300 ingests one after the other
    stages    where the time of one reader goes

Takes options, prints what was measured with the machine; ``--log`` adds it to LOG.md, failures too. With ``--gb 1`` it
needs 12 GB of disk. Knows the parts by name, and measures nothing itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import memory
import small
import stages
import versus
from harness import LOG, ROOT, Absent, Bench, Failed, append_entry, machine

PARTS: dict[str, Callable[[Bench], None]] = {
    "chat": versus.chat,
    "datasets": versus.datasets,
    "inspect": versus.inspect,
    "memory": memory.memory,
    "again": small.again,
    "lookup": small.lookup,
    "stages": stages.stages,
}


def main() -> int:
    options = _options()
    names = options.only or list(PARTS)
    with tempfile.TemporaryDirectory(prefix="investigate-bench-", dir=options.tmp) as folder:
        peers = None if options.peers is None else options.peers.expanduser().absolute()
        bench = Bench(Path(folder).resolve(), options.gb, peers, options.inspect_logs.resolve())
        bench.say(machine(bench))
        failed = [name for name in names if not _succeeds(bench, name)]
    if options.log:
        append_entry(f"{', '.join(names)}, --gb {options.gb:g}", bench.lines)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=summary, epilog=rest, formatter_class=raw)
    default = ROOT.parent / "shared" / "transcripts" / "tinker-reward-hacking"
    add = parser.add_argument
    add("--peers", type=Path, metavar="PYTHON", help="a python with datasets and inspect_ai, for the parts of those")
    add("--only", action="append", choices=list(PARTS), help="this part; may be given several times")
    add("--gb", type=float, default=1.0, metavar="N", help="size of the logs that are made; default: 1")
    add("--inspect-logs", type=Path, default=default, metavar="DIR", help="a folder of .eval logs")
    add("--tmp", type=Path, metavar="DIR", help="where logs and workspaces go, to be removed at the end")
    add("--log", action="store_true", help=f"add what was measured to {LOG.name}")
    return parser.parse_args()


def _succeeds(bench: Bench, name: str) -> bool:
    bench.say(f"\n[{name}]")
    try:
        PARTS[name](bench)
    except Absent as reason:
        bench.say(f"Skipped: it {reason}.")
    except Failed as error:
        bench.say(f"FAILED: {error}")
        return False
    except Exception:
        bench.say(f"FAILED: {traceback.format_exc(limit=-1).strip()}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
