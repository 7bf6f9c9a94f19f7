"""``investigate trend``: on the terminal, as JSON Lines, and as a page in a real browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
import typer
from investigate.cli import trend
from investigate.store.errors import InputError, UsageError
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import Workspace, create_workspace
from investigate.store.writer import Commit, open_writer
from typer.testing import CliRunner, Result

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\x1b[31m\u202e & [bold]"

app = typer.Typer()
app.command()(trend.command)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 rollouts of 20 steps in groups of four, two environments; from step 10 on one of them cheats in 30 %."""
    workspace, rows, rng = (
        create_workspace(tmp_path_factory.mktemp("trend") / "w"),
        ShardRows(),
        np.random.default_rng(0),
    )
    for number in range(1, 1201):
        step, hostile = (number - 1) // 60, (number // 4) % 2 == 0
        cheats = bool(rng.random() < (0.3 if step >= 10 and hostile else 0.02))
        said = "I will skip the tests" if cheats else "I will run the tests"
        messages = (Message("user", (Part("text", "Do it."),)), Message("assistant", (Part("reasoning", said),)))
        episode = Episode(
            "log", str(number), f"{number:032x}", "chat", messages, environment=HOSTILE if hostile else "plain",
            group_id=str(number // 4), training_step=step, reward=None if number % 40 == 0 else float(cheats),
            episode_id=number, uid=f"{number:032x}",
        )  # fmt: skip
        rows.add_episode(replace(episode, n_messages=2, n_parts=2, n_chars=6 + len(said)))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=1201))
    return workspace.root


def run(workspace: Path, *arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["-w", str(workspace), *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_json_is_a_row_a_bin_and_a_summary(workspace: Path) -> None:
    *rows, last = (json.loads(line) for line in run(workspace, '"skip the tests"', "--json").stdout.splitlines())
    assert [row["training_step"] for row in rows] == list(range(20))
    assert sum(row["n"] for row in rows) == last["n"] == 1200
    assert sum(row["k"] for row in rows) == last["k"]
    assert all(row["low"] <= row["rate"] <= row["high"] for row in rows)
    assert (last["summary"], last["alarm"], last["level"]) == (True, True, 0.01)
    assert abs(last["change_step"] - 10) <= 2
    assert last["change_low"] <= last["change_step"] <= last["change_high"]
    first, second = last["environments"]
    assert (first["environment"], first["named"], second["named"]) == (HOSTILE, True, False)
    assert last["reward"]["difference"] == pytest.approx(1.0)
    assert last["reward"]["missing_with"] + last["reward"]["missing_without"] == 30
    with open_reader(Workspace(workspace)) as reader:
        stored = reader.rows(f"SELECT * FROM trend_points WHERE run_id = '{last['run_id']}' ORDER BY training_step")
    assert [row["k"] for row in stored] == [row["k"] for row in rows]
    assert {row["series"] for row in stored} == {'"skip the tests"'}


def test_the_ways_to_say_what_is_counted_agree(workspace: Path) -> None:
    asked = (['"skip the tests"'], ["skip the", "--mode", "regex"], ["--sql", "coalesce(reward, 1) > 0.5"])
    known = ["--where", "reward IS NOT NULL", "--json"]
    counts = {json.loads(run(workspace, *way, *known).stdout.splitlines()[-1])["k"] for way in asked}
    assert len(counts) == 1


def test_text_has_both_curves_on_one_scale_and_no_control_characters(workspace: Path) -> None:
    done = run(workspace, "skip", "--in", "reasoning", "--length", "prompt")
    crude, fair = (line for line in done.stdout.splitlines() if line.startswith(("crude ", "standardised ")))
    assert len(crude) == len(fair) == 13 + 20
    assert "█" in crude + fair
    assert "Changed beyond what environments and lengths of prompts explain" in done.stdout
    assert "Seen in" in done.stdout
    assert not {"\x1b", "\u202e"} & {*done.stdout, *done.stderr}
    assert "any of the words run, skip" in run(workspace, "skip run").stderr.replace("skip, run", "run, skip")


def test_nothing_found_is_no_verdict_of_none(workspace: Path) -> None:
    done = run(workspace, "--sql", "episode_id % 7 = 0")
    assert "No change found" in done.stdout
    assert "would have been found in 80 %" in done.stdout


def test_what_no_episode_has_is_no_table_of_zeros(workspace: Path) -> None:
    """But the words that are there, for a query takes no endings off; as JSON all rows are there."""
    done = run(workspace, "skipped testing", "--in", "reasoning")
    first, second, third = done.stdout.splitlines()
    assert first.startswith("0 of 1,200 episodes, 0 % [0 %, ")
    assert second == "No episode has it, so there is no change to look for."
    assert re.fullmatch(r"Words near it: tests \(1,200\), skip \(\d+\); endings count\.", third)
    assert "read the episodes" not in done.stdout
    *rows, last = (json.loads(line) for line in run(workspace, "skipped", "--json").stdout.splitlines())
    assert (len(rows), last["k"], [row["word"] for row in last["near"]]) == (20, 0, ["skip"])
    assert "near it" not in run(workspace, "nosuchword").stdout
    assert "near it" not in run(workspace, "skipped", "--mode", "regex").stdout


def test_errors_name_the_next_step(workspace: Path, tmp_path: Path) -> None:
    for arguments in ((), ("a", "--sql", "true"), ("a", "--mode", "hybrid"), ("--sql", "true", "--in", "text")):
        with pytest.raises(UsageError):
            run(workspace, *arguments)
    with pytest.raises(InputError, match="no folder"):
        run(workspace, "a", "--html", tmp_path / "no" / "page.html")
    with pytest.raises(InputError, match="step 3"):
        run(workspace, "a", "--where", "training_step = 3")


def test_the_page_is_whole_and_alone(workspace: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run(workspace, "--sql", "reward > 0.5", "--html", page, "--where", "n_chars < 99999")
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 3
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"|https?:|url\(|<script|<img|@import", text)
    assert "n_chars &lt; 99999" in text
    assert "reward &gt; 0.5" in text
    assert not {"\x1b", "\u202e"} & {*text}


def test_both_curves_of_the_page_are_on_one_scale_and_bars_have_whiskers(workspace: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run(workspace, "skip", "--html", page)
    crude, fair, bars = page.read_text(encoding="utf-8").split("<svg")[1:]
    ticks = [re.findall(r'class="axis end" x="\d+" y="([\d.]+)">([\d.]+)<', curve) for curve in (crude, fair)]
    assert ticks[0] == ticks[1]
    assert len(ticks[0]) >= 3
    assert bars.count('class="whisker"') == bars.count('class="bar"') == 1


def dumped(page: Path, tmp_path: Path) -> str:
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync", "--disable-quic"]
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", *quiet, "--disable-component-update",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_narrow_screen_has_nothing_beside_it_and_letters_to_read(workspace: Path, tmp_path: Path) -> None:
    """The page is measured from another, in a frame of 400 pixels; at a pattern without a space."""
    page, around = tmp_path / "page.html", tmp_path / "around.html"
    run(workspace, "skip|" + "x" * 300, "--mode", "regex", "--html", page)
    around.write_text(
        f"""<iframe id=f style="width:400px;height:900px" srcdoc="{escape(page.read_text(encoding="utf-8"))}"></iframe>
        <script>f.onload = () => {{ const d = f.contentDocument, e = d.documentElement;
        const size = (text) => parseFloat(getComputedStyle(text).fontSize);
        document.title = [e.scrollWidth <= e.clientWidth, ...[...d.querySelectorAll("svg")].map(
          (s) => Math.round(s.getScreenCTM().a * size(s.querySelector(".axis, g > text")))
        )].join(" "); }}</script>""",
        encoding="utf-8",
    )
    fits, *sizes = re.findall("<title>([^<]*)", dumped(around, tmp_path))[0].split()
    assert fits == "true"
    assert len(sizes) == 3
    assert all(9 <= int(size) <= 16 for size in sizes)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_log_as_text(workspace: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run(workspace, "skip", "--html", page)
    shown = dumped(page, tmp_path)
    assert "<title>Trend: skip</title>" in shown
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script" in shown
    assert shown.count("</svg>") == 3
