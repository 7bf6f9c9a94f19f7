"""What every format promises, asked of each with its example: files in ``examples/``, ``NAME.EXT`` or a folder NAME."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import zstandard
from investigate.ingest.detect import detect, detect_source, format_names, get_format
from investigate.ingest.files import walk
from investigate.ingest.format import Source
from investigate.ingest.report import SourceReport
from investigate.ingest.run import ingest
from investigate.ingest.unpack import plain
from investigate.store.compute import Engine
from investigate.store.errors import InputError
from investigate.store.reader import open_reader
from investigate.store.schemas import JSON_COLUMNS
from investigate.store.shards import to_json
from investigate.store.types import KINDS, REASONING_KINDS, ROLES, Call, Episode, Part
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import open_writer

EXAMPLES = Path(__file__).parent / "examples"
NAMES = [name for name in format_names() if name != "mapped"]  # ``mapped`` is asked for, and never found
COMPANIONS = (
    "metadata.json",
    "sorting_metadata.jsonl",
    "tokenizer.json",
    "message/*/*.json",
    "part/*/*.json",
    "aggregated_*",
)
"""What lies beside the logs of an example; a folder is also read with it."""
KNOWS_ITS_FOLDER = {
    "grok_cli": "a session is named after its folder",
    "opencode": "the messages of a session are files in other folders",
    "prime_rl_tokens": "its token ids mean nothing without the tokenizer beside it",
    "open_instruct": "its token ids mean nothing without the tokenizer beside it",
}
"""Formats whose logs are not the same without what lies around them, and why."""


def logs_of(name: str) -> list[Path]:
    """A format's example files, without companions."""
    found = [path for path in EXAMPLES.glob(f"{name}.*") if path.is_file()] + list((EXAMPLES / name).rglob("*.*"))
    return sorted(path for path in found if not any(path.match(pattern) for pattern in COMPANIONS))


LOGS = [pytest.param(name, path, id=path.relative_to(EXAMPLES).as_posix()) for name in NAMES for path in logs_of(name)]


def read(name: str, source: Source) -> list[Episode]:
    """The episodes of a log that has nothing that cannot be read."""
    items = list(get_format(name).read(source))
    episodes = [item for item in items if isinstance(item, Episode)]
    assert episodes == items
    return episodes


@pytest.mark.parametrize("name", NAMES)
def test_every_format_has_an_example(name: str) -> None:
    assert logs_of(name)


def test_every_example_is_of_a_format() -> None:
    assert {path.name.split(".")[0] for path in EXAMPLES.iterdir()} <= set(NAMES)


@pytest.mark.parametrize(("name", "path"), LOGS)
def test_it_is_found_and_nothing_ties(name: str, path: Path) -> None:
    assert detect(path) == name


def test_a_companion_is_no_log() -> None:
    companions = [path for pattern in COMPANIONS for path in EXAMPLES.rglob(pattern) if path.is_file()]
    assert len(companions) > len(COMPANIONS)
    for path in companions:
        with pytest.raises(InputError, match="no known format"):
            detect(path)


@pytest.mark.parametrize(("name", "path"), LOGS)
def test_it_reads_and_reads_the_same_again(name: str, path: Path) -> None:
    source = Source(path, str(path))
    episodes = read(name, source)
    assert episodes
    assert all(episode.messages for episode in episodes)
    assert read(name, source) == episodes
    records = [episode.record for episode in episodes]
    assert len(set(records)) == len(records)
    assert all(episode.source == source.name and len(episode.digest) == 32 for episode in episodes)


@pytest.mark.parametrize(("name", "path"), LOGS)
def test_its_episodes_are_well_formed(name: str, path: Path) -> None:
    for episode in read(name, Source(path, str(path))):
        for message in episode.messages:
            assert message.role in ROLES
            assert message.parts
            for part in message.parts:
                check_part(part)
        assert [call.call_index for call in episode.calls] == list(range(len(episode.calls)))
        for call in episode.calls:
            check_call(call, episode)
        values = [
            getattr(owner, field.name)
            for owner in (episode, *episode.calls)
            for field in fields(owner)
            if field.name in JSON_COLUMNS
        ]
        for value in values:
            json.loads(to_json(value), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        assert set(episode.provenance) <= {"reward", "success", *episode.scores, *episode.labels, *episode.verdicts}


def check_part(part: Part) -> None:
    assert part.kind in KINDS
    assert (part.reasoning_kind in REASONING_KINDS) if part.kind == "reasoning" else part.reasoning_kind is None
    assert part.kind == "reasoning" or part.location is None
    assert part.kind == "tool_call" or part.parse_error is None
    assert part.kind == "tool_result" or part.is_error is None


def check_call(call: Call, episode: Episode) -> None:
    assert call.message_index is None or 0 <= call.message_index < len(episode.messages)
    if call.logprobs is not None and call.completion_ids is not None:
        assert len(call.logprobs) == len(call.completion_ids)


@pytest.mark.parametrize(("name", "path"), [param for param in LOGS if param.values[0] not in KNOWS_ITS_FOLDER])
def test_compressed_it_is_the_same(name: str, path: Path, tmp_path: Path) -> None:
    """Alone, as it is; then in a zip with its folders, and compressed in each way."""
    inside = path.relative_to(EXAMPLES).as_posix()
    raw = path.read_bytes()
    alone = tmp_path / "alone" / "logs.zip" / inside
    alone.parent.mkdir(parents=True)
    alone.write_bytes(raw)
    expected = [told(episode) for episode in read(name, Source(alone, str(alone)))]
    for suffix, compress in ((".gz", gzip.compress), (".zst", zstandard.compress)):
        packed = tmp_path / "packed" / "logs.zip" / (inside + suffix)
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(compress(raw))
        assert unpacked_and_read(name, Source(packed, str(packed))) == expected
    archive = tmp_path / "logs.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(inside, raw)
    assert unpacked_and_read(name, Source(archive, f"{archive}!{inside}", member=inside)) == expected


def unpacked_and_read(name: str, packed: Source) -> list[dict[str, Any]]:
    assert detect_source(packed) == name
    with plain(packed) as source:
        return [told(episode) for episode in read(name, source)]


def told(episode: Episode) -> dict[str, Any]:
    """All of an episode but the path of its file."""
    return {field.name: getattr(episode, field.name) for field in fields(episode) if field.name != "source"}


def run(workspace: Workspace, *paths: Path) -> list[SourceReport]:
    with open_writer(workspace) as writer:
        return list(ingest(writer, walk(paths), engine=Engine(1)))


def stored(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Every part of every episode and every call, by uid, with what was said of its message."""
    with open_reader(workspace) as reader:
        columns = "e.* EXCLUDE (episode_id, duplicate_of)"
        rows = [
            *reader.rows(f"SELECT {columns} FROM episodes e"),
            *reader.rows("SELECT e.uid, p.* EXCLUDE (episode_id) FROM parts p JOIN episodes e USING (episode_id)"),
            *reader.rows("SELECT e.uid, c.* EXCLUDE (episode_id) FROM calls c JOIN episodes e USING (episode_id)"),
            *reader.rows("FROM skipped"),
        ]
    return sorted((tuple(row.values()) for row in rows), key=repr)


def test_all_examples_in_one_workspace(tmp_path: Path) -> None:
    """Every message comes back with its branch, its agent and whether it was given; a second run adds nothing."""
    workspace = create_workspace(tmp_path / "workspace")
    reports = {report.source: report for report in run(workspace, EXAMPLES)}
    logs = {str(path.resolve()): (name, path) for name in NAMES for path in logs_of(name)}
    assert {source for source, report in reports.items() if report.error is None} == set(logs)
    assert not any(report.skipped for report in reports.values())
    expected = set()
    for source, (name, path) in logs.items():
        for episode in read(name, Source(path, source)):
            of_episode = (episode.source, episode.record, episode.digest, name)
            for index, message in enumerate(episode.messages):
                said = tuple((part.kind, part.text, part.reasoning_kind, part.tool_name) for part in message.parts)
                expected.add((*of_episode, index, message.role, message.branch, message.agent, message.given, said))
    assert {branch is not None for *_, branch, _, _, _ in expected} == {True, False}
    assert {given for *_, given, _ in expected} == {True, False}
    with open_reader(workspace) as reader:
        rows = reader.rows(
            """
            SELECT source, record, digest, format, message_index, p.role, branch, agent, given,
                list({'a': kind, 'b': text, 'c': reasoning_kind, 'd': tool_name} ORDER BY part_index) AS said
            FROM episodes JOIN parts p USING (episode_id) GROUP BY ALL
            """
        )
    found = {(*list(row.values())[:-1], tuple(tuple(part.values()) for part in row["said"])) for row in rows}
    assert found == expected
    before = stored(workspace)
    for report in run(workspace, EXAMPLES):
        assert (report.episodes, report.unchanged) == (0, reports[report.source].episodes)
    assert stored(workspace) == before


def lines_of(path: Path) -> list[bytes]:
    """The rows of an example as lines, however it is laid out."""
    raw = path.read_bytes()
    try:
        whole = json.loads(raw)
    except ValueError:
        return raw.splitlines(keepends=True)
    return [json.dumps(row).encode() + b"\n" for row in (whole if isinstance(whole, list) else [whole])]


def test_what_grows_line_by_line_is_what_is_read_in_one_go(tmp_path: Path) -> None:
    """Of formats that take a grown file up where the last run stopped."""
    resumable = [path for name in NAMES if get_format(name).resumable for path in logs_of(name)]
    assert len(resumable) > 10
    # A list of events is one episode, and does not grow.
    logs = {path.relative_to(EXAMPLES): lines_of(path) for path in resumable if path.name != "session.json"}
    shutil.copytree(EXAMPLES, tmp_path / "logs")  # with their companions
    paths = [tmp_path / "logs" / file for file in logs]
    grown = create_workspace(tmp_path / "grown")
    for n_lines in range(1, 1 + max(map(len, logs.values()))):
        for file, lines in logs.items():
            (tmp_path / "logs" / file).write_bytes(b"".join(lines[:n_lines]))
        for report in run(grown, *paths):
            lines = logs[Path(report.source).relative_to((tmp_path / "logs").resolve())]
            assert report.bytes == len(b"".join(lines[n_lines - 1 : n_lines] or lines))
    whole = create_workspace(tmp_path / "whole")
    run(whole, *paths)
    assert stored(grown) == stored(whole)
