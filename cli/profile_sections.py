"""The tables of a profile in words: titles, notes, and cells that fit a terminal of 80 columns.

Takes a profile, gives sections that the terminal and the page show alike. Knows neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .figures import interval, number, of, plain, share, share_interval
from .output import one_line

if TYPE_CHECKING:
    from ..analysis.text.profile import Profile

Row = Mapping[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Section:
    """``rows`` are cells as they are shown; columns in ``right`` hold numbers."""

    name: str
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=list)
    right: Sequence[str] = ()


def shorten(text: str, n_chars: int) -> str:
    """The text on one line, its end cut off."""
    line = one_line(text)
    return line if len(line) <= n_chars else line[: n_chars - 1] + "…"


_EVERYTHING: Final = "(all)"


def head_line(profile: Profile) -> str:
    """What every number of a profile is a number of."""
    folded = {0: "no duplicates", 1: "1 duplicate folded"}.get(n := profile.n_folded, f"{n} duplicates folded")
    return f"{profile.n_episodes} distinct episode{'s' * (profile.n_episodes != 1)}; {folded}."


def sections(profile: Profile) -> list[Section]:
    """In the order in which they should be read; those with nothing to show are left out."""
    tables = profile.tables
    made = [
        _composition(tables["composition"]),
        _duplicates(tables["duplicates"]),
        _missing(tables["missing"]),
        _names(tables["names"]),
        _lengths(tables["lengths"]),
        _length_histogram(tables["length_histogram"]),
        _rewards(tables["rewards"]),
        _reward_histogram(tables["reward_histogram"]),
        _groups(tables["groups"]),
        _steps(tables["steps"]),
        _reasoning(tables["reasoning"]),
        _tools([row for row in tables["tools"] if row["environment"] is None]),
        _tools_by_environment([row for row in tables["tools"] if row["environment"] is not None]),
        _stops(tables["stops"]),
        _errors(tables["errors"]),
        _faults(tables["faults"]),
        _repeated(tables["repeated"]),
    ]
    return [section for section in made if section.rows]


def _composition(rows: Rows) -> Section:
    columns: dict[str, list[Row]] = {}
    for row in rows:
        columns.setdefault(row["column"], []).append(row)
    cells = []
    for name, values in columns.items():
        common = ", ".join(f"{row['value'] or '(not said)'} {share(row['share'])}" for row in values)
        more = ", …" if values[0]["distinct_values"] > len(values) else ""
        cells.append((name, str(values[0]["distinct_values"]), common + more))
    return Section("composition", "What there is", "", ("column", "values", "commonest"), cells, ("values",))


def _duplicates(rows: Rows) -> Section:
    cells = [
        (row["format"], row["reason"].removeprefix("same "), row["place"], str(row["n"]), str(row["originals"]),
         str(row["other_model"]), str(row["most_copied"]))
        for row in rows
    ]  # fmt: skip
    note = (
        "Folded: every other number counts copies of an episode once, the fullest of them (among equals the first). "
        "Equal rows of one file are samples of their own, and each counts. `other "
        "model`: folded ones that are logged under another model than the one that stands for them; "
        f"{sum(row['shorter'] for row in rows)} have less text than it. `e.g.` has most copies."
    )
    columns = ("format", "same", "where", "folded", "of", "other model", "e.g.")
    return Section("duplicates", "Duplicates", note, columns, cells, columns[3:])


def _missing(rows: Rows) -> Section:
    over_all = [row for row in rows if row["format"] is None and row["missing"]]
    cells = []
    for row in sorted(over_all, key=lambda row: -row["share"]):
        single = [other for other in rows if other["column"] == row["column"] and other["format"] is not None]
        always = ", ".join(other["format"] for other in single if other["missing"] == other["n"])
        partly = ", ".join(
            f"{other['format']} {share(other['share'])}" for other in single if 0 < other["missing"] < other["n"]
        )
        cells.append((row["column"], share(row["share"]), always, partly))
    note = (
        "Share of episodes in which a column is empty. No reward is no reward of zero: a rate is one of the episodes "
        "that have a value, and says how many do not. `error` is empty wherever no error was logged; "
        "`calls` are requests to the model with their token ids or raw text."
    )
    return Section("missing", "What is missing", note, ("column", "empty", "always", "partly"), cells, ("empty",))


def _names(rows: Rows) -> Section:
    cells = [
        (row["name"], row["kind"], row["provenance"] or "(not said)", str(row["known"]),
         plain(row["mean"]) if row["numbers"] == row["known"] else "", _values(row))
        for row in rows
    ]  # fmt: skip
    note = (
        "Who says so is in `given by`. A score by a judge is a claim; a program's is a measurement. `mean`: true and "
        "yes are 1, false and no 0; none where some values are words, of which `values` has the commonest."
    )
    columns = ("name", "kind", "given by", "n", "mean", "values")
    return Section("names", "Scores, labels and verdicts", note, columns, cells, columns[3:5])


def _values(row: Row) -> str:
    """From the least to the most, or the commonest words with their shares."""
    if row["numbers"] == row["known"]:
        return "" if row["least"] is None else f"{plain(row['least'])}…{plain(row['most'])}"
    said = [f"{shorten(one['value'], 24)} {share(one['n'] / row['known'])}" for one in row["commonest"]]
    return ", ".join(said) + (", …" if row["distinct_values"] > len(said) else "")


def _lengths(rows: Rows) -> Section:
    shown = ("mean", "p5", "p50", "p95", "p99", "p100")
    cells = [(row["length"], *(number(row[name]) for name in shown)) for row in rows]
    columns = ("length", "mean", "5 %", "median", "95 %", "99 %", "most")
    return Section("lengths", "Length of an episode", "", columns, cells, columns[1:])


def _rewards(rows: Rows) -> Section:
    cells = [
        (row["environment"] or _EVERYTHING, str(row["n"]), plain(row["mean"]), interval(row["low"], row["high"]),
         of(row["success_k"], row["success_n"]), share_interval(row["success_low"], row["success_high"]),
         str(row["unknown"]), str(row["groups"]))
        for row in rows
    ]  # fmt: skip
    note = (
        "Mean reward and share of success with 95 % intervals over groups: episodes sampled from one prompt are not "
        "independent. No interval where there is one group, or all rewards are equal. `unknown`: no reward logged."
    )
    columns = ("environment", "n", "reward", "95 %", "success", "95 % ", "unknown", "groups")
    return Section("rewards", "Reward and success by environment", note, columns, cells, ("n", "reward", *columns[6:]))


def _length_histogram(rows: Rows) -> Section:
    columns = ("characters", "episodes", "share", "")
    cells = _histogram([row for row in rows if row["length"] == "characters"])
    return Section("length_histogram", "How long episodes are", "", columns, cells, columns[:3])


def _reward_histogram(rows: Rows) -> Section:
    columns = ("reward", "episodes", "share", "")
    return Section("reward_histogram", "How rewards are spread", "", columns, _histogram(rows), columns[:3])


def _histogram(rows: Rows) -> list[tuple[str, str, str, str]]:
    most, total = max([row["n"] for row in rows], default=1), sum(row["n"] for row in rows)
    return [
        (number(row["low"]) if row["low"] == row["high"] else interval(row["low"], row["high"]), str(row["n"]),
         share(row["n"] / total), "█" * round(20 * row["n"] / most))
        for row in rows
    ]  # fmt: skip


def _groups(rows: Rows) -> Section:
    cells = [
        (row["environment"], str(row["groups"]), number(row["mean_size"]), str(row["largest"]),
         of(row["all_equal"], row["rewarded"]))
        for row in rows
    ]  # fmt: skip
    note = "Groups of two rewards and more that are `all equal` teach a policy nothing when it is trained on them."
    columns = ("environment", "groups", "mean size", "largest", "all equal")
    return Section("groups", "Groups sampled from one prompt", note, columns, cells, columns[1:])


def _steps(rows: Rows) -> Section:
    cells = [
        (str(row["step"]) if row["step"] == row["last_step"] else f"{row['step']}–{row['last_step']}",
         str(row["episodes"]), plain(row["mean"]), interval(row["low"], row["high"]),
         of(row["success_k"], row["success_n"]), share_interval(row["success_low"], row["success_high"]),
         f"{row['mix']:.2f}")
        for row in rows
    ]  # fmt: skip
    note = (
        "With 95 % intervals over groups. `mix`: how far the environments of a step are from those of all (0 the same, "
        "1 none in common); where it moves, a trend may be in what was asked and not in the model."
    )
    columns = ("step", "n", "reward", "95 %", "success", "95 % ", "mix")
    return Section("steps", "Over training", note, columns, cells, ("step", "n", "reward", "mix"))


def _reasoning(rows: Rows) -> Section:
    cells = [
        (row["format"], row["kind"], row["location"], str(row["episodes"]), str(row["parts"]), str(row["unreadable"]),
         number(row["median_characters"]))
        for row in rows
    ]  # fmt: skip
    columns = ("format", "kind", "location", "episodes", "parts", "unreadable", "median")
    note = (
        "Only `raw` is what the model wrote as it thought; a summary is another's words. `unreadable`: redacted, "
        "encrypted or empty. `median`: characters of a part."
    )
    return Section("reasoning", "Reasoning", note, columns, cells, columns[3:])


_TOOL_NOTE: Final = (
    "`failed`: of the results of which the log says whether the tool failed. Where it does not say they are "
    "`unknown`, which is not to say fine. What stood in the prompt is not counted."
)


def _tools(rows: Rows) -> Section:
    cells = [
        (row["tool"] or _EVERYTHING, str(row["calls"]), of(row["unparsable"], row["calls"]), str(row["results"]),
         of(row["k"], row["n"]), share_interval(row["low"], row["high"]), str(row["unknown"]))
        for row in rows
    ]  # fmt: skip
    columns = ("tool", "calls", "unparsable", "results", "failed", "95 %", "unknown")
    return Section("tools", "Tools", _TOOL_NOTE, columns, cells, (*columns[1:5], "unknown"))


def _tools_by_environment(rows: Rows) -> Section:
    # An environment's sum says nothing new where it has one tool.
    n_tools = Counter(row["environment"] for row in rows if row["tool"])
    cells = [
        (row["environment"], row["tool"] or _EVERYTHING, str(row["calls"]), of(row["k"], row["n"]),
         share_interval(row["low"], row["high"]), str(row["unknown"]), str(row["unparsable"]))
        for row in rows
        if row["tool"] or n_tools[row["environment"]] > 1
    ]  # fmt: skip
    columns = ("environment", "tool", "calls", "failed", "95 %", "unknown", "unparsable")
    right = ("calls", "failed", *columns[5:])
    return Section("tools_by_environment", "Tools by environment", "", columns, cells, right)


def _stops(rows: Rows) -> Section:
    cells = [
        (row["stop_reason"] or "(not said)", "cut off" if row["truncated"] else "", str(row["n"]), share(row["share"]),
         str(row["example"]))
        for row in rows
    ]  # fmt: skip
    columns = ("stop reason", "", "n", "share", "e.g.")
    return Section("stops", "Why episodes stopped", "", columns, cells, columns[2:])


def _errors(rows: Rows) -> Section:
    cells = [(str(row["n"]), str(row["environments"]), str(row["example"]), row["error"]) for row in rows]
    columns = ("n", "environments", "e.g.", "error")
    return Section("errors", "Errors logged", "First lines, with # for numbers.", columns, cells, columns[:3])


def _faults(rows: Rows) -> Section:
    def most_in(row: Row) -> str:
        return "" if row["most_in"] is None else f"{row['most_in']} {share(row['most_in_share'])}"

    cells = [
        (row["fault"], of(row["k"], row["n"]), share_interval(row["low"], row["high"]), plain(row["example"]),
         str(row["unknown"]), most_in(row))
        for row in rows
    ]  # fmt: skip
    note = (
        "Episodes with a sign, of those where it could be: a reason to look at one (`investigate show`) before the "
        "model is blamed, no verdict. `unknown`: the log does not say."
    )
    columns = ("sign", "episodes", "95 %", "e.g.", "unknown", "most in")
    return Section("faults", "Signs of a broken environment", note, columns, cells, ("episodes", "e.g.", "unknown"))


def _repeated(rows: Rows) -> Section:
    cells = [
        (of(row["episodes"], row["of_episodes"]), row["environment"], row["tool"], plain(row["example"]),
         shorten(row["text"], 80))
        for row in rows
    ]  # fmt: skip
    note = (
        "Equal in three episodes or more: a dead service or a missing package answers everybody alike. A question "
        "that every episode gets is no fault."
    )
    columns = ("episodes", "environment", "tool", "e.g.", "result")
    return Section("repeated", "Tool results that episodes share", note, columns, cells, ("episodes", "e.g."))
