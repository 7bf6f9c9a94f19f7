"""``investigate compare`` and ``discover``: table, JSON Lines, page, stored rows; hostile text stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from investigate.analysis.text.compare import Comparison, Shuffle
from investigate.analysis.text.features import Coverage
from investigate.analysis.text.likeness import Power
from investigate.cli import compare, discover
from investigate.cli.comparison_sentences import nothing_found, sentences
from investigate.store.errors import InputError, UsageError
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import create_workspace, open_workspace
from investigate.store.writer import Commit, open_writer
from typer.testing import CliRunner, Result

HOSTILE = "<script>document.title='taken'</script>\x1b[31m\u202e & <img src=x onerror=alert(1)>"

app = typer.Typer()
app.command("compare")(compare.command)
app.command("discover")(discover.command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty early rollouts, and eighty late ones that speak of otters and call a tool with a hostile name."""
    workspace, rows = create_workspace(tmp_path_factory.mktemp("compare") / "w"), ShardRows()
    for number in range(1, 161):
        late = number > 80
        parts = [Part("text", f"Working on it{', otters first' if late else ''}, number {number}.")]
        if late:
            parts.append(Part("tool_call", "{}", HOSTILE))
        messages = (Message("user", (Part("text", "Do it."),)), Message("assistant", tuple(parts)))
        episode = Episode("log", f"{number:04}", f"{number:032x}", "chat", messages, training_step=int(late))
        rows.add_episode(replace(episode, episode_id=number, uid=f"{number:032x}"))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=161))
    return workspace.root


def run(folder: Path, command: str, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [command, "-w", str(folder), *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


LATE_EARLY = ("--a", "training_step = 1", "--b", "training_step = 0")


def test_rows_are_printed_and_stored(folder: Path) -> None:
    result = run(folder, "compare", *LATE_EARLY)
    head, *lines = result.stdout.splitlines()
    assert head.split("\t")[:4] == ["kind", "name", "a", "b"]
    assert any("otters" in line and "40/40\t0/40" in line and "\tyes\t" in line for line in lines)
    assert "a: 80 episodes in 80 independent" in result.stderr
    assert "Counts, effect and q are of the half in which a difference was found" in result.stderr
    assert "Cliff’s delta" in result.stderr
    assert "is worth" not in result.stderr
    assert "Shuffled labels confirm" not in result.stderr
    assert "shuffled over units, found / confirmed: 0 / 0, 0 / 0" in result.stderr
    with open_reader(open_workspace(folder)) as reader:
        stored = reader.rows("SELECT * FROM differences WHERE run_id = 'compare-1'")
        (run_row,) = reader.rows("SELECT * FROM runs WHERE run_id = 'compare-1'")
    assert any(row["kind"] == "tool_call" and row["name"] == HOSTILE and row["confirmed"] for row in stored)
    assert json.loads(run_row["parameters"])["tried"]["tool_call"] == 1


def test_json_ends_with_what_the_rows_rest_on(folder: Path) -> None:
    *rows, total = (json.loads(line) for line in run(folder, "compare", *LATE_EARLY, "--json").stdout.splitlines())
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert (rows[0]["confirmed"], rows[0]["n_a"], rows[0]["confirm_n_b"]) == (True, 40, 40)
    assert total["total"] is True
    assert total["confirmed"] == sum(row["confirmed"] for row in rows)
    assert sum(total["tried"].values()) > total["found"] >= total["rows"] == len(rows)
    assert len(total["shuffled"]) == 5
    assert len(run(folder, "compare", *LATE_EARLY, "--json", "--limit", "1").stdout.splitlines()) == 2


@pytest.mark.parametrize("command", ["compare", "discover"])
def test_the_page_escapes_what_came_from_a_log(folder: Path, tmp_path: Path, command: str) -> None:
    asked = LATE_EARLY if command == "compare" else ("--reference", "training_step = 0", "--encoder", "none")
    page = tmp_path / "page.html"
    run(folder, command, *asked, "--html", page, "--fold-by", "record")
    text = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;document.title=&#x27;taken&#x27;&lt;/script&gt;" in text
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "default-src 'none'" in text
    assert "otters" in text


def test_discover_tells_what_rose(folder: Path) -> None:
    result = run(folder, "discover", "--reference", "training_step = 0", "--encoder", "none", "--json")
    *rows, total = (json.loads(line) for line in result.stdout.splitlines())
    assert any("otters" in row["name"] and row["confirmed"] for row in rows)
    assert all(row["effect"] > 0 for row in rows)
    assert all(row["p"] <= row["q"] for row in rows)
    assert (total["n_a"], total["n_b"], total["run_id"]) == (80, 80, "discover-2")


def test_where_narrows_both_sides_of_discover(folder: Path) -> None:
    asked = ("discover", "--reference", "training_step = 0", "--encoder", "none", "--json")
    (*_, total) = map(json.loads, run(folder, *asked, "--where", "episode_id % 2 = 0").stdout.splitlines())
    assert (total["n_a"], total["n_b"]) == (40, 40)
    (*_, total) = map(json.loads, run(folder, *asked, "--later", "episode_id > 120").stdout.splitlines())
    assert (total["n_a"], total["n_b"]) == (40, 80)
    both = ("--later", "episode_id > 100", "--where", "episode_id BETWEEN 41 AND 140")
    (*_, total) = map(json.loads, run(folder, *asked, *both).stdout.splitlines())
    assert (total["n_a"], total["n_b"]) == (40, 40)


def test_discover_names_the_options_it_has(folder: Path) -> None:
    with pytest.raises(InputError, match="No episode passes --reference; loosen it"):
        run(folder, "discover", "--reference", "1 = 0", "--encoder", "none")
    with pytest.raises(InputError, match=r"No episode passes --later \(all others\)"):
        run(folder, "discover", "--reference", "true", "--encoder", "none")
    with pytest.raises(InputError, match="--later leaves 4 independent"):
        run(folder, "discover", "--reference", "training_step = 0", "--later", "episode_id > 156", "--encoder", "none")
    with pytest.raises(UsageError, match="make --later and --reference exclude each other"):
        run(folder, "discover", "--reference", "episode_id < 90", "--later", "episode_id > 80", "--encoder", "none")
    with pytest.raises(InputError, match="No episode passes --reference with --where"):
        run(folder, "discover", "--reference", "training_step = 0", "--where", "episode_id > 90", "--encoder", "none")


def test_sentences_say_what_sets_are_worth_and_what_shuffles_confirm() -> None:
    power = Power((1.7, 9.1), (61, 141), False, 0.3, None)
    clusters = Coverage("cluster-1", 0.98, 0.5, used=True)
    shuffles = [Shuffle(9, 4), Shuffle(0, 0)]
    found = Comparison([], 124, 730, 24, 62, 0, {"term": 900}, 0, 0, shuffles, power, clusters)
    said = " ".join(sentences(found, ("a", "b"), None))
    assert "a: 124 episodes in 24 independent sets of episodes that share a task, group or content (the largest" in said
    assert "a is worth 1.7 independent ones in one half, b 9.1. With less than 5, little could be found" in said
    large = " ".join(sentences(replace(found, power=replace(power, by_set=True)), ("a", "b"), None))
    assert "A few sets hold most of a side, so each counts once, for its share of episodes; --fold-by COLUMN" in large
    assert "little could be found" not in large
    assert "Clusters are those of cluster-1, which knows 98.0 % of a and 50.0 % of b." in said
    assert "Shuffled labels confirm 2 on average: about so many of the 0 would be confirmed by chance" in said
    assert "if they are all alike, hardly anything would have been" in nothing_found(found, ("a", "b"))
    none = replace(found, power=replace(power, detectable=None), clusters=replace(clusters, used=False))
    assert "No difference between a and b could have been found" in nothing_found(none, ("a", "b"))
    assert "Clusters are left out: cluster-1 knows" in " ".join(sentences(none, ("a", "b"), None))


def test_two_alike_groups_and_two_tiny_ones_give_a_sentence(folder: Path) -> None:
    alike = ("--a", "training_step = 0 AND episode_id % 2 = 0", "--b", "training_step = 0 AND episode_id % 2 = 1")
    result = run(folder, "compare", *alike)
    assert result.stdout == ""
    assert "No difference found between a and b. Something that one of them never has" in result.stderr
    assert re.search(r"would have been found, in 80 % of cases, from \d\d\.\d % of the episodes", result.stderr)
    assert "Cliff" not in result.stderr
    with pytest.raises(InputError, match="--a leaves 3 independent"):
        run(folder, "compare", "--a", "episode_id < 4", "--b", "episode_id > 4")
    with pytest.raises(UsageError, match="in both groups"):
        run(folder, "compare", "--a", "true", "--b", "training_step = 0")
    with pytest.raises(UsageError, match="--in knows"):
        run(folder, "compare", *LATE_EARLY, "--in", "thoughts")


def test_a_page_that_cannot_be_written_is_said_before_the_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        run(folder, "compare", *LATE_EARLY, "--html", tmp_path / "none" / "page.html")
