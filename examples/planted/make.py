"""Writes the planted corpus: python examples/planted/make.py --episodes 10000 --seed 0 --out DIR

Takes options, writes ``DIR/logs`` and ``DIR/truth.parquet``; see ``corpus.py`` for the files and ``README.md`` for what
is planted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from corpus import LOGS, TRUTH, write
from settings import BEHAVIOURS, Config


def main() -> None:
    """Exit 2 for options that no corpus can be made of."""
    usual = Config()
    parser = argparse.ArgumentParser(description="Write logs with planted behaviour, and the truth about them.")
    parser.add_argument("--episodes", type=int, default=usual.episodes)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder without logs in it")
    parser.add_argument("--onset", type=int, default=usual.onset, metavar="STEP", help="first step of the hack")
    parser.add_argument("--only", nargs="+", choices=BEHAVIOURS, default=BEHAVIOURS, metavar="BEHAVIOUR")
    parser.add_argument("--null", action="store_true", help="plant nothing, and let nothing change over the steps")
    parser.add_argument("--drift-only", action="store_true", help="let the mixture change, and no rate within it")
    parser.add_argument("--chars", type=int, default=usual.chars, help="about how many characters an episode has")
    given = vars(parser.parse_args())
    out: Path = given.pop("out")
    given["only"] = frozenset(given["only"])
    try:
        config = Config(**given)
        n_bad = write(config, out)
    except ValueError as error:
        parser.error(str(error))
    except FileExistsError:
        parser.error(f"{out / LOGS} is there already; give another folder.")
    print(f"{config.episodes} episodes and {n_bad} bad rows in {out / LOGS}; the truth in {out / TRUTH}")


if __name__ == "__main__":
    main()
