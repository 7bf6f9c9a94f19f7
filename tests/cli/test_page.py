"""The page in a real browser: what a log says is text, and nothing of it runs."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
from investigate.analysis.model.replay import Reading, SpanScore, TokenScore
from investigate.cli.page import pieces_of, render_page
from investigate.store.types import Episode, Message, Part

HOSTILE = "</div><script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\"> & <b>bold</b>"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def reading() -> Reading:
    episode = Episode("log", "0", "d", episode_id=3, messages=(Message("assistant", (Part("text", HOSTILE),)),))
    cuts = [0, 6, 14, 40, len(HOSTILE) - 5]
    tokens = tuple(
        TokenScore(0, i, i, 0, 0, start, end, (-1) ** i * i / 2, i == 2)
        for i, (start, end) in enumerate(itertools.pairwise(cuts))
    )
    span = SpanScore(0, 0, 0, "text", "assistant", 0, len(HOSTILE), 4, 1, 1.0, 1.0, 1.0)
    return Reading(episode, "<i>probe</i>", 1, "ids", 1.0, 1, tokens, (span,), ("<u>note</u>",))


def test_the_pieces_are_the_text() -> None:
    (pieces,) = pieces_of(reading(), 0).values()
    assert "".join(text for text, _, _ in pieces) == HOSTILE
    assert [read for _, _, read in pieces] == [False, False, True, False, False]


def test_a_page_without_readings() -> None:
    assert "<h1>nothing</h1>" in render_page("nothing", [])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_log_as_text(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_page("a & <title>", [reading()]), encoding="utf-8")
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync", "--disable-quic"]
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", *quiet, "--disable-component-update",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "<title>a &amp; &lt;title&gt;</title>" in done.stdout
    assert "taken" not in done.stdout.split("<body>")[0]
    assert "<script" not in done.stdout
    assert "<img" not in done.stdout
    assert "&lt;script" in done.stdout
