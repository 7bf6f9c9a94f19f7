"""The command and its map, in a real browser: what a log says is text, and what is no clearer than chance is said."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from investigate.cli import cluster
from investigate.cli.cluster_map import Dot, Group, render_map
from investigate.store.errors import InputError, UsageError
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import create_workspace, open_workspace
from investigate.store.writer import Commit, open_writer
from typer.testing import CliRunner, Result

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\"> & \x1b[31m"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TOPICS = (
    "flight airline ticket luggage boarding passenger airport cancel refund seat",
    "sorting algorithm array function pointer compile recursion loop integer string",
    "cooking oven butter flour recipe onion garlic simmer pepper dough",
)

app = typer.Typer()
app.command()(cluster.command)


def make(folder: Path, texts: list[str]) -> Path:
    """A workspace of rollouts: the model changes with the topic, the step with every episode."""
    workspace, rows = create_workspace(folder / "w"), ShardRows()
    for number, text in enumerate(texts, 1):
        episode = Episode(
            "log", str(number), str(number), "chat", (Message("assistant", (Part("text", text),)),),
            model=f"m{number % 3}", training_step=number % 5, reward=float(number % 2), environment="e",
        )  # fmt: skip
        rows.add_episode(replace(episode, episode_id=number, uid=f"{number:032x}", n_chars=len(text)))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=len(texts) + 1))
        writer.settle()
    return workspace.root


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    numbers = random.Random(0)
    texts = [" ".join(numbers.sample(TOPICS[number % 3].split(), 7)) for number in range(1, 91)]
    return make(tmp_path_factory.mktemp("topics"), [*texts[:-1], texts[-1] + " " + HOSTILE])


def run(workspace: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["-w", str(workspace), "--encoder", "none", *map(str, arguments)])


def test_json_has_prevalence_and_enrichment(topics: Path) -> None:
    result = run(topics, "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert sum(row["size"] for row in rows) == 90
    for row in rows[:3]:
        (best, *_) = [share for share in row["prevalence"] if share["by"] == "model" and share["k"]]
        assert (best["n"], best["low"] < best["rate"] <= best["high"]) == (30, True)
        assert row["enrichment"][0]["by"] == "model"
        assert row["enrichment"][0]["q"] < 1e-6
        assert {share["by"] for share in row["prevalence"]} == {"training_step", "reward", "model"}


def test_text_shows_shares_by_a_fact(topics: Path) -> None:
    result = run(topics, "--by", "training_step", "--level", "chunk")
    assert result.exit_code == 0, result.output
    head, *_ = [line for line in result.stdout.splitlines() if line.startswith("cluster_id\tlabel\t0")]
    assert head.split("\t")[2:] == ["0", "1", "2", "3", "4"]
    assert re.search(r"\d+% \[\d+%, \d+%\] n=18", result.stdout)
    assert "Stability: mean Jaccard" in result.stderr
    with open_reader(open_workspace(topics)) as reader:
        (row,) = reader.rows('SELECT count(*) AS n FROM cluster_members WHERE "end" > 0 AND part_index = 0')
    assert row["n"] == 90


def test_no_groups_are_said_and_not_stored(tmp_path: Path) -> None:
    numbers = random.Random(0)
    words = [a + b + c for a in "bdgk" for b in "aeio" for c in "lmnr"]
    workspace = make(tmp_path, [" ".join(numbers.choices(words, k=40)) for _ in range(120)])
    for as_json in ([], ["--json"]):
        result = run(workspace, *as_json)
        assert (result.exit_code, result.stdout) == (0, "")
        assert "No groups" in result.stderr
        assert "--min-size" in result.stderr
    with open_reader(open_workspace(workspace)) as reader:
        assert reader.rows("FROM clusters") == reader.rows("FROM cluster_members") == reader.rows("FROM runs") == []


@pytest.mark.parametrize("option", [["--algorithm", "kmeans"], ["--level", "turn"], ["--by", "weather"]])
def test_what_is_unknown_is_named(topics: Path, option: list[str]) -> None:
    assert isinstance(run(topics, *option).exception, UsageError)


def test_a_plot_that_cannot_be_written(topics: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "map.html"):
        assert isinstance(run(topics, "--plot", path).exception, InputError)


def shown(page: Path, tmp_path: Path, size: str = "1200,900") -> str:
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync", "--disable-quic"]
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", *quiet, "--disable-component-update",
         "--virtual-time-budget=20000", f"--window-size={size}",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_draws_the_map_and_runs_nothing_of_a_log(topics: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    assert run(topics, "--plot", page).exit_code == 0
    written = page.read_text(encoding="utf-8")
    assert "t-SNE" in written
    assert "mean little" in written
    assert not re.search(r"""(src|href)\s*=|url\(|https?:""", re.sub(r'<script type="application/json".*?</script>', "",
                                                                     written))  # fmt: skip
    dom = shown(page, tmp_path)
    assert "<title>Clusters</title>" in dom
    assert dom.count("<script") == 2
    assert "<img" not in dom
    assert dom.count('aria-pressed="true"') >= 3
    assert re.search(r'<canvas[^>]* width="[1-9]', dom)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_hostile_names_and_texts_stay_text(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    dots = [Dot(-1.0, 1.0, 0, HOSTILE, HOSTILE), Dot(1.0, -1.0, -1, "2", "b")]
    page.write_text(render_map("a & <title>", HOSTILE, dots, {0: Group(HOSTILE, 0.9)}), encoding="utf-8")
    dom = shown(page, tmp_path)
    assert "<title>a &amp; &lt;title&gt;</title>" in dom
    assert dom.count("<script") == 2
    assert "<img" not in dom
    assert "&lt;img" in dom
    assert "(none)" in dom


def groups_of(page: str) -> tuple[list[int], list[int]]:
    """Numbers of the groups in order of the legend, and what kind each is: coloured, beyond colours, unsure, none."""
    data = json.loads(re.findall(r'<script type="application/json" id="dots">(.*?)</script>', page)[0])
    return data["numbers"], data["kinds"]


def test_only_groups_to_be_trusted_have_colours_and_no_more_than_can_be_told_apart() -> None:
    """The largest is not stable; twelve are, of which the smallest three are beyond the colours."""
    stability = {0: 0.21, **{number: 0.6 + number / 100 for number in range(1, 13)}, 13: 0.59}
    sizes = {-1: 90, 0: 50, **{number: 40 - number for number in range(1, 13)}, 13: 5}
    dots = [Dot(0.0, 0.0, number, "1", "same") for number, size in sizes.items() for _ in range(size)]
    page = render_map("a", "", dots, {number: Group(f"g{number}", of) for number, of in stability.items()})
    numbers, kinds = groups_of(page)
    assert numbers == [*range(1, 13), 0, 13, -1]
    assert kinds == [0] * 9 + [1] * 3 + [2] * 2 + [3]
    assert page.count("same") == 1


def test_the_map_says_how_it_was_made(topics: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    done = run(topics, "--plot", page, "--where", "episode_id < 81", "--level", "message", "--seed", "3")
    run_id = re.findall(r"^(cluster-\d+): ", done.stderr, re.MULTILINE)[0]
    note = re.findall(r'<p class="note">(.*?)</p>', page.read_text(encoding="utf-8"))[0]
    for told in (
        f"{run_id}: level message",
        "algorithm hdbscan",
        "encoder tfidf",
        "where episode_id &lt; 81",
        "seed 3",
    ):
        assert told in note


def test_each_cluster_has_places_to_read_and_the_end_says_what_next(topics: Path, tmp_path: Path) -> None:
    for level, place in (("episode", r"\d+"), ("message", r"\d+@0"), ("chunk", r"\d+@0\.0 \[0, \d+\)")):
        rows = [json.loads(line) for line in run(topics, "--level", level, "--json").stdout.splitlines()]
        for row in rows[:3]:
            assert len(row["places"]) == 3
            assert all(re.fullmatch(place, one) for one in row["places"])
            assert [int(re.split("@", one)[0]) for one in row["places"]] == row["representatives"]
    done = run(topics)
    head, first, *_ = (line.split("\t") for line in done.stdout.splitlines())
    assert head[-2:] == ["e.g.", "more / less than elsewhere"]
    run_id, cluster_id = re.findall(r"investigate trend --cluster (\S+)/(\d+)\.", done.stderr)[0]
    assert (cluster_id, f"investigate show {first[-2].split(',')[0]}." in done.stderr) == (first[0], True)
    with open_reader(open_workspace(topics)) as reader:
        assert reader.rows("FROM clusters WHERE run_id = ? AND cluster_id = ?", [run_id, int(cluster_id)])


def test_what_no_word_names_has_its_beginning_for_a_label(tmp_path: Path) -> None:
    numbers = random.Random(0)
    texts = [" ".join(numbers.sample(TOPICS[number % 3].split(), 7)) for number in range(1, 91)]
    workspace = make(tmp_path, [*texts, *["No  <b>" for _ in range(20)], *["1 2 " * 30 for _ in range(20)]])
    labels = {row["label"] for row in map(json.loads, run(workspace, "--json").stdout.splitlines())}
    assert {"“No <b>”", "“" + ("1 2 " * 10)[:39] + "…”"} <= labels
    assert "" not in labels


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_hundred_thousand_dots_are_drawn_and_found(tmp_path: Path) -> None:
    """In a narrow window too, where the map is as wide as the page, and square."""
    page, numbers = tmp_path / "map.html", random.Random(0)
    dots = [
        Dot(numbers.uniform(-1, 1), numbers.uniform(-1, 1), number % 40 - 1, f"{number}@0", f"text {number}")
        for number in range(100_000)
    ]
    page.write_text(render_map("Clusters", "", dots, {n: Group(f"g{n}", 0.9) for n in range(39)}), encoding="utf-8")
    assert page.stat().st_size < 20_000_000
    for width, height in ((1200, 900), (500, 1400)):
        dom = shown(page, tmp_path, f"{width},{height}")
        ((wide, high),) = re.findall(r'<canvas[^>]* width="(\d+)" height="(\d+)"', dom)
        assert dom.count('aria-pressed="true"') == 40
        assert int(wide) > 300
        assert width > 600 or (int(wide) > 0.9 * width and abs(int(wide) - int(high)) <= 2)


def test_a_map_of_nothing() -> None:
    assert "0 items in 0 groups" in render_map("empty", "", [], {})
