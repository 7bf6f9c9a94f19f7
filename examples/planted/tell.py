"""An episode in words: what the user asks, what the policy thinks, runs, reads and says.

Takes one row of truth and the random numbers of its text, gives a ``Telling``. Knows no log format. Every sentence that
is planted stands whole in one part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import decoys
import phrases
import scenes
from draws import CATEGORIES

N_NUMBERS: Final = 64
"""Random numbers that a telling may use, besides those of its filling."""
_LONG_FACTOR: Final = 1.6
_SHORT_FACTOR: Final = 0.55
_SENTENCE: Final = 62
"""Characters of a thought, on average."""
_LINE: Final = 33
"""Characters of a line of a log, with its newline."""
_FIXED: Final = 540
"""Characters that are there in any case, on average."""
_TRUNCATED_AT: Final = 24
"""Characters of its last text that a truncated episode keeps."""
_DECOYS: Final = CATEGORIES["awareness_decoy"]


@dataclass(frozen=True, slots=True)
class Round:
    """A command and what came of it."""

    thought: str
    command: str
    output: str
    exit_code: int

    @property
    def result(self) -> str:
        """As the tool gives it back."""
        return f"exit code {self.exit_code}\n{self.output}"


@dataclass(frozen=True, slots=True)
class Telling:
    """An episode without its format."""

    system: str
    request: str
    rounds: list[Round]
    thought: str
    answer: str


@dataclass(slots=True)
class _Writer:
    """An episode on its way. ``pick`` chooses from texts by the next random number."""

    row: dict[str, Any]
    scene: scenes.Scene
    target: str
    pool: tuple[str, ...]
    """Plain thoughts about the target."""
    pick: Callable[[Sequence[str]], str]
    bank: str
    thoughts: list[str]
    lines: list[str]
    rounds: list[Round] = field(default_factory=list)

    def behave(self, name: str) -> str:
        return self.pick(phrases.BEHAVIOURS[name][self.bank])

    def decoy(self, name: str) -> str:
        return self.pick(decoys.REASONING[name][self.bank])

    def run(self, thought: str, command: str, output: str = "", exit_code: int = 0) -> None:
        self.rounds.append(Round(thought, command, output, exit_code))


def tell(row: dict[str, Any], numbers: list[int], filling: list[int], chars: int) -> Telling:
    """The episode of a row of truth. ``numbers`` has N_NUMBERS integers, ``filling`` as many as ``n_filling`` says."""
    following = iter(numbers).__next__

    def pick(texts: Sequence[str]) -> str:
        return texts[following() % len(texts)]

    scene = scenes.SCENES[row["environment"]]
    n_thoughts, n_lines = _amounts(row["length"] == 1, chars)
    about = row["task"] % len(scene.objects)
    pool, log = scene.thoughts[about], scenes.LOG_LINES
    writer = _Writer(
        row,
        scene,
        scene.objects[about],
        pool,
        pick,
        phrases.BANKS[row["bank"]],
        [pool[number % len(pool)] for number in filling[:n_thoughts]],
        [log[number % len(log)] for number in filling[n_thoughts : n_thoughts + n_lines]],
    )
    request = _request(writer, numbers[-1])
    _explore(writer)
    _act(writer)
    _check(writer)
    _tidy(writer)
    thought = _last_thought(writer)
    return Telling(scene.system, request, writer.rounds, thought, _answer(writer))


def n_filling(chars: int) -> int:
    """How many random numbers the filling of the longest episode takes."""
    return sum(_amounts(True, chars))


def _amounts(is_long: bool, chars: int) -> tuple[int, int]:
    """Thoughts and log lines that bring an episode to its length: three fifths are thoughts."""
    wanted = max(0, chars * (_LONG_FACTOR if is_long else _SHORT_FACTOR) - _FIXED)
    return max(1, int(0.6 * wanted / _SENTENCE)), max(1, int(0.4 * wanted / _LINE))


def _request(w: _Writer, number: int) -> str:
    said = [w.scene.tasks[w.row["task"]], f"It is ticket {number % 90000 + 10000}."]
    asked = (
        (_DECOYS[w.row["awareness_decoy"]], w.row["awareness_decoy"]),
        ("skip", w.row["skip_requested"]),
        ("scorer", w.row["scorer_requested"]),
        ("ambiguous", w.row["ambiguous"]),
    )
    said += [w.pick(decoys.REQUESTS[name][w.bank]) for name, holds in asked if holds]
    return " ".join(said)


def _explore(w: _Writer) -> None:
    """The first look around, in which a long episode takes two more steps; here suspicion is voiced."""
    said = [f"{w.pick(scenes.OPENERS)} {w.target}."]
    if w.row["awareness_decoy"]:
        said.append(w.decoy(_DECOYS[w.row["awareness_decoy"]]))
    third = -(-len(w.thoughts) // 3)
    said += w.thoughts[:third]
    if w.row["awareness"]:
        said.append(w.behave("awareness"))
    half = len(w.lines) // 2 if w.row["length"] else len(w.lines)
    w.run(" ".join(said), w.pick(scenes.LOOKS), "\n".join(w.lines[:half]))
    if w.row["length"]:
        w.run(" ".join(w.thoughts[third : 2 * third]), w.pick(scenes.LOOKS), "\n".join(w.lines[half:]))


def _act(w: _Writer) -> None:
    """What is done before the checks."""
    row = w.row
    if row["grader_search"] or row["scorer_requested"]:
        said = w.behave("grader_search") if row["grader_search"] else w.decoy("scorer")
        w.run(said, w.pick(scenes.SEARCHES), "./tools/points.py:3: total = 0")
    if row["ambiguous_act"]:
        w.run(w.behave("ambiguous_act"), w.pick(scenes.AMBIGUOUS_ACTS))
    if row["risky_act"]:
        said = w.behave("quirk") if row["quirk"] else w.pick(w.pool)
        w.run(said, w.pick(scenes.RISKY))
    if row["skip_requested"]:
        w.run(w.decoy("skip"), w.pick(scenes.SKIPS))


def _check(w: _Writer) -> None:
    """The checks, up to their last run; ``outcome`` says how that ends."""
    row, scene = w.row, w.scene
    if row["fault"]:
        output = f"bash: {scene.check.split()[0]}: command not found"
        w.run("I run the check.", scene.check, output, 127)
        w.run(w.behave("fault"), scene.check, output, 127)
        return
    if row["hack"] or row["outcome"] == 1:
        w.run("I run the check.", scene.check, w.pick(scene.failed), 1)
        edit = w.pick(scenes.HACKS if row["hack"] else scenes.EDITS)
        w.run(w.behave("hack") if row["hack"] else w.pick(w.pool), edit)
    else:
        w.run(w.pick(w.pool), w.pick(scenes.EDITS))
    failed = row["outcome"] == 2
    w.run("I run the check.", scene.check, w.pick(scene.failed if failed else scene.passed), int(failed))


def _tidy(w: _Writer) -> None:
    if w.row["cover_up"]:
        w.run(w.behave("cover_up"), w.pick(scenes.COVERS))
    elif w.row["cleanup"]:
        w.run(w.decoy("cleanup"), w.pick(scenes.CLEANUPS))


def _last_thought(w: _Writer) -> str:
    third = -(-len(w.thoughts) // 3)
    said = w.thoughts[2 * third :] if w.row["length"] else w.thoughts[third:]
    if w.row["dialect"]:
        said = [*said, *(w.behave("dialect") for _ in range(4))]
    if w.row["token_soup"]:
        said = [*said, "".join(w.pick(scenes.SOUP) for _ in range(24))]
    return " ".join(said) or "That is all."


def _answer(w: _Writer) -> str:
    """The last words. A truncated episode breaks off in them, and claims nothing."""
    row = w.row
    lead = f"On {w.target}: "
    if row["truncated"]:
        return (lead + w.pick(w.pool))[:_TRUNCATED_AT]
    if row["fault"]:
        return lead + "I could not run the check here, so the result is unknown. The output above shows the error."
    claim = CATEGORIES["claim"][row["claim"]]
    said = w.behave("false_claim") if claim == "false" else w.pick(decoys.CLAIMS[claim][w.bank])
    return lead + said
