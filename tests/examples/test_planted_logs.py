"""The logs of the planted corpus: they ingest without loss, and what truth says is in them stands where it should."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from investigate.ingest.files import walk
from investigate.ingest.run import ingest
from investigate.store.reader import open_reader
from investigate.store.workspace import create_workspace
from investigate.store.writer import open_writer

PLANTED = Path(__file__).resolve().parents[2] / "examples" / "planted"
MODULES = ("phrases", "decoys", "settings", "scenes", "draws", "tell", "wire", "corpus")
N = 1200
DETECTED = {"openai": "openai_chat", "anthropic": "anthropic_messages"}
DETECTED |= {"verl": "prompt_completion", "inspect": "inspect_eval"}

Row = dict[str, Any]
Place = tuple[str, str, str]
"""Key, role, kind."""


@dataclass(frozen=True)
class Ingested:
    """A written corpus and what became of it in a workspace."""

    reports: list[Any]
    episodes: dict[str, Row]
    """By key."""
    parts: list[Row]
    skipped: list[Row]
    truth: dict[str, Row]
    """By key."""
    n_bad: int


@pytest.fixture(scope="module")
def code() -> Iterator[SimpleNamespace]:
    """The example's modules, which import each other by their bare names; ``sys`` is left as it was."""
    others = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(PLANTED))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(PLANTED))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(others)


@pytest.fixture(scope="module")
def ingested(code: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder = tmp_path_factory.mktemp("planted")
    n_bad = code.corpus.write(code.settings.Config(episodes=N, seed=1), folder / "out")
    truth = pq.read_table(folder / "out" / "truth.parquet").to_pylist()
    workspace = create_workspace(folder / "workspace")
    with open_writer(workspace) as writer:
        reports = list(ingest(writer, walk([folder / "out" / "logs"])))
    keyed = f"SELECT *, {code.corpus.KEY_SQL} AS key, {code.corpus.STEP_SQL} AS step FROM episodes"
    with open_reader(workspace) as reader:
        episodes = list(reader.rows(keyed))
        keys = {row["episode_id"]: row["key"] for row in episodes}
        parts = [row | {"key": keys[row["episode_id"]]} for row in reader.rows("FROM parts ORDER BY ALL")]
        skipped = list(reader.rows("FROM skipped"))
    assert len(keys) == len(set(keys.values()))
    by_key = {row["key"]: row for row in truth}
    return Ingested(reports, {row["key"]: row for row in episodes}, parts, skipped, by_key, n_bad)


def test_every_valid_row_is_ingested_and_every_bad_one_skipped(code: SimpleNamespace, ingested: Ingested) -> None:
    assert not [report.error for report in ingested.reports if report.error]
    assert ingested.episodes.keys() == ingested.truth.keys()
    assert len(ingested.truth) == N
    planted = [row for row in ingested.truth.values() if row["bad_row_follows"]]
    assert len(ingested.skipped) == sum(report.skipped for report in ingested.reports) == len(planted) == ingested.n_bad
    assert ingested.n_bad > 2
    expected = Counter((DETECTED[row["format"]], row["step"]) for row in planted if row["format"] != "inspect")
    found = Counter(source_of(row["source"]) for row in ingested.skipped if not row["source"].endswith(".eval"))
    assert found == expected


def source_of(source: str) -> tuple[str, int]:
    path = Path(source)
    return DETECTED[path.parent.name], int(path.stem.removeprefix("step_"))


def test_an_episode_says_of_itself_what_truth_says(code: SimpleNamespace, ingested: Ingested) -> None:
    for key, truth in ingested.truth.items():
        episode = ingested.episodes[key]
        assert episode["format"] == DETECTED[truth["format"]]
        assert episode["environment"] == truth["environment"]
        assert episode["task_id"] == truth["task_id"]
        assert episode["reward"] == truth["reward"]
        assert (episode["stop_reason"] in ("length", "max_tokens")) == truth["truncated"]
        metadata = as_json(episode["metadata"])
        beside = metadata["sample_metadata"] if truth["format"] == "inspect" else metadata
        assert beside["provider"] == truth["provider"]
        assert episode["step"] == truth["step"]


def test_no_log_gives_its_truth_away(ingested: Ingested) -> None:
    known = {"key", "step", "environment", "format", "provider", "task_id", "reward", "length"}
    columns = next(iter(ingested.truth.values())).keys() - known
    for episode in ingested.episodes.values():
        facts = json.dumps([as_json(episode[name]) for name in ("metadata", "scores", "labels", "verdicts")])
        assert not [name for name in columns if name in facts]


def as_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


# Sentences


def sentence_places(parts: list[Row], sentences: tuple[str, ...]) -> set[Place]:
    """Where any of the sentences stands. Their beginnings are looked for first, in whole episodes: most have none."""
    found = set()
    beginnings = defaultdict(list)
    for sentence in sentences:
        beginnings[sentence[:9]].append(sentence)
    for key, own in by_episode(parts).items():
        text = "\n".join(part["text"] for part in own)
        present = [s for beginning, group in beginnings.items() if beginning in text for s in group if s in text]
        found |= {(key, part["role"], part["kind"]) for part in own for sentence in present if sentence in part["text"]}
    return found


def by_episode(parts: list[Row]) -> dict[str, list[Row]]:
    own = defaultdict(list)
    for part in parts:
        own[part["key"]].append(part)
    return own


def planted_where(ingested: Ingested, bank: str, role: str, kind: str, holds: Any) -> set[Place]:
    return {(key, role, kind) for key, row in ingested.truth.items() if row["bank"] == bank and holds(row)}


def test_what_a_behaviour_says_stands_where_truth_says_and_nowhere_else(
    code: SimpleNamespace, ingested: Ingested
) -> None:
    assert set(code.phrases.BEHAVIOURS) == set(code.settings.BEHAVIOURS)
    for name, banks in code.phrases.BEHAVIOURS.items():
        places = {bank: sentence_places(ingested.parts, sentences) for bank, sentences in banks.items()}
        for bank, found in places.items():
            expected = planted_where(ingested, bank, "assistant", code.phrases.PLACES[name], lambda row, n=name: row[n])
            assert found == expected, (name, bank)
        assert any(places.values()), f"none of {name} in {N} episodes"


def test_what_a_decoy_says_stands_where_truth_says_and_nowhere_else(code: SimpleNamespace, ingested: Ingested) -> None:
    def holds(name: str) -> Any:
        column = {"skip": "skip_requested", "scorer": "scorer_requested"}.get(name, name)
        if name in code.decoys.AWARENESS_DECOYS:
            return lambda row: row["awareness_decoy"] == name
        return lambda row: row[column]

    groups = (
        (code.decoys.REQUESTS, "user", "text", holds),
        (code.decoys.REASONING, "assistant", "reasoning", holds),
        (code.decoys.CLAIMS, "assistant", "text", lambda name: lambda row: row["claim"] == name),
    )
    for group, role, kind, condition in groups:
        for name, banks in group.items():
            for bank, sentences in banks.items():
                found = sentence_places(ingested.parts, sentences)
                assert found == planted_where(ingested, bank, role, kind, condition(name)), (name, bank)
                assert found, (name, bank)


@pytest.mark.parametrize(
    ("words", "column"), [("otter", "quirk"), ("LEXEMES", "dialect"), ("SOUP", "token_soup"), ("COVERS", "cover_up")]
)
def test_words_of_their_own_stand_in_no_other_episode(
    code: SimpleNamespace, ingested: Ingested, words: str, column: str
) -> None:
    soup = [piece for piece in code.scenes.SOUP if not piece.isascii()]
    rare = {"otter": ("otter",), "LEXEMES": code.phrases.LEXEMES, "SOUP": soup, "COVERS": code.scenes.COVERS}[words]
    found = {part["key"] for part in ingested.parts if any(word in part["text"] for word in rare)}
    assert found == {key for key, row in ingested.truth.items() if row[column]}
    assert found


def test_commands_are_run_where_truth_says(code: SimpleNamespace, ingested: Ingested) -> None:
    acts = {
        "HACKS": lambda row: row["hack"],
        "SKIPS": lambda row: row["skip_requested"],
        "COVERS": lambda row: row["cover_up"],
        "CLEANUPS": lambda row: row["cleanup"],
        "SEARCHES": lambda row: row["grader_search"] or row["scorer_requested"],
        "RISKY": lambda row: row["risky_act"],
        "AMBIGUOUS_ACTS": lambda row: row["ambiguous_act"],
    }
    for name, holds in acts.items():
        written = [orjson.dumps({"command": command}).decode() for command in getattr(code.scenes, name)]
        found = {
            (part["key"], part["kind"])
            for part in ingested.parts
            if any(command in part["text"] for command in written)
        }
        kinds = {key: "text" if row["format"] == "verl" else "tool_call" for key, row in ingested.truth.items()}
        assert found == {(key, kinds[key]) for key, row in ingested.truth.items() if holds(row)}, name
        assert found, name


def test_the_last_check_in_the_log_ended_as_truth_says(ingested: Ingested) -> None:
    codes = {"passed": "0", "fixed": "0", "failed": "1", "fault": "127"}
    for key, own in by_episode(ingested.parts).items():
        results = [part["text"] for part in own if part["kind"] == "tool_result"]
        results = [text.removeprefix("<tool_response>\n").removesuffix("\n</tool_response>") for text in results]
        # What edits and deletes gives no output; only looking, searching and checking do.
        first, *rest = next(text.split("\n", 1) for text in reversed(results) if "\n" in text.strip())
        assert first == f"exit code {codes[ingested.truth[key]['outcome']]}", rest


def test_near_duplicates_differ_in_a_few_words(ingested: Ingested) -> None:
    words = {
        key: Counter(" ".join(part["text"] for part in own).split()) for key, own in by_episode(ingested.parts).items()
    }
    pairs = [(key, row["near_duplicate_of"]) for key, row in ingested.truth.items() if row["near_duplicate_of"]]
    assert len(pairs) > 10
    for copy, original in pairs:
        assert words[copy] != words[original]
        assert (words[copy] & words[original]).total() / (words[copy] | words[original]).total() > 0.8
    others = list(zip(list(words)[:-1], list(words)[1:], strict=True))
    alike = [(words[a] & words[b]).total() / (words[a] | words[b]).total() > 0.8 for a, b in others]
    assert sum(alike) <= len(others) / 100


# Files


def test_the_command_writes_the_same_bytes_as_the_library(code: SimpleNamespace, tmp_path: Path) -> None:
    config = code.settings.Config(episodes=1000, seed=3, chars=1000)
    code.corpus.write(config, tmp_path / "a")
    command = [sys.executable, PLANTED / "make.py", "--episodes", "1000", "--seed", "3", "--chars", "1000", "--out"]
    done = subprocess.run([*command, tmp_path / "b"], capture_output=True, text=True, timeout=120, check=True)
    assert "1000 episodes" in done.stdout
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")
    again = subprocess.run([*command, tmp_path / "b"], capture_output=True, text=True, timeout=120)
    assert again.returncode == 2
    assert "give another folder" in again.stderr


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_seed_tells_the_same_number_of_other_episodes(code: SimpleNamespace) -> None:
    configs = (code.settings.Config(episodes=1000, seed=seed) for seed in (3, 4))
    one, other = ([record.content for record, row in code.corpus.generate(c) if row] for c in configs)
    assert len(one) == len(other) == 1000
    assert not set(one) & set(other)


def test_the_stream_gives_what_is_written_and_the_table_its_truth(code: SimpleNamespace, tmp_path: Path) -> None:
    config = code.settings.Config(episodes=1000, seed=6)
    code.corpus.write(config, tmp_path / "out")
    logs: dict[str, list[bytes]] = defaultdict(list)
    truth = []
    for record, row in code.corpus.generate(config):
        assert record.bad == (row is None)
        if row is None:
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(record.content)
        else:
            assert row["key"].encode() in record.content
            truth.append(row)
        if record.format != "inspect":
            logs[record.file].append(record.content)
    table = code.draws.truth_table(config)
    assert table.to_pylist() == truth
    assert table.equals(pq.read_table(tmp_path / "out" / "truth.parquet"))
    for file, lines in logs.items():
        assert (tmp_path / "out" / "logs" / file).read_bytes() == b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("chars", [1000, 1500, 6000])
def test_episodes_are_about_as_long_as_they_shall_be(code: SimpleNamespace, chars: int) -> None:
    config = code.settings.Config(episodes=1000, chars=chars)
    told = [r.content for r, row in code.corpus.generate(config) if row and r.format == "openai"]
    messages = [message for content in told for message in orjson.loads(content)["messages"]]
    n_chars = sum(len(m["content"] or "") + len(m.get("reasoning_content", "")) for m in messages)
    assert n_chars / len(told) == pytest.approx(chars, rel=0.15)
