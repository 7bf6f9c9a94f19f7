"""Recipes: what is packaged is balanced and matched as it says, and what a user gets wrong is named with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from investigate.analysis.model.recipe import Messages, Pair, Recipe, find_recipe, packaged_names, read_recipe
from investigate.store.errors import InputError, NotFoundError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline

RECIPES = ("deception", "eval-awareness")
FOLDER = resources.files("investigate.analysis.model.recipes")


def lines_of(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return find_recipe(request.param, None)


def of_kind(recipe: Recipe, kind: str) -> list[Pair]:
    return [pair for pair in recipe.pairs if pair.kind == kind]


# What is packaged


def test_packaged_files_are_reachable_and_found() -> None:
    assert set(RECIPES) <= set(packaged_names())
    for name in packaged_names():
        found = find_recipe(name, None)
        assert found.name == name
        assert found.sha256 == sha256((FOLDER / f"{name}.jsonl").read_bytes()).hexdigest()


def test_recipe_holds_what_its_file_holds(recipe: Recipe) -> None:
    header, *rows = lines_of(recipe.name)
    assert [json.loads(json.dumps(asdict(pair))) for pair in recipe.pairs] == rows
    assert recipe.name == header["recipe"]
    for field in ("version", "description", "read", "mask", "language", "status"):
        assert getattr(recipe, field) == header[field]


def test_counts_without_repetition(recipe: Recipe) -> None:
    contrast, empty = of_kind(recipe, "contrast"), of_kind(recipe, "empty")
    assert len(contrast) >= 48
    assert len({pair.positive_group for pair in contrast}) >= 16
    assert len(empty) >= 24
    for split, fewest in (("train", 32), ("test", 16)):
        assert sum(pair.split == split for pair in contrast) >= fewest
    sides = [json.dumps(side) for pair in recipe.pairs for side in (pair.positive, pair.negative)]
    assert len(set(sides)) == len(sides)


def test_groups_never_straddle_and_pairs_stay_inside_one_topic(recipe: Recipe) -> None:
    groups: dict[str, set[tuple[str, str]]] = {}
    for pair in recipe.pairs:
        assert pair.positive_group == pair.negative_group
        groups.setdefault(pair.positive_group, set()).add((pair.split, pair.kind))
    assert all(len(places) == 1 for places in groups.values())


def test_sides_are_matched_in_length_and_format(recipe: Recipe) -> None:
    for pair in recipe.pairs:
        for positive, negative in zip(pair.positive, pair.negative, strict=True):
            one, other = positive["content"], negative["content"]
            assert positive["role"] == negative["role"], pair.pair
            assert abs(len(one) - len(other)) <= 0.15 * max(len(one), len(other)), (pair.pair, one, other)
            assert one.count("\n") == other.count("\n"), pair.pair
            assert one[-1] == other[-1], (pair.pair, one, other)


def test_no_label_hides_in_the_empty_pairs(recipe: Recipe) -> None:
    """Swapping the inert word must be all that happens: nearly all words of the two sides are shared."""
    for pair in of_kind(recipe, "empty"):
        one, other = (re.findall(r"\w+", conversation(side).lower()) for side in (pair.positive, pair.negative))
        assert len(one) == len(other), pair.pair
        assert sum(a != b for a, b in zip(one, other, strict=True)) <= 6, pair.pair


def test_deception_has_pairs_that_only_the_context_tells_apart() -> None:
    contrast = of_kind(find_recipe("deception", None), "contrast")
    same_reply = [pair for pair in contrast if pair.positive[-1] == pair.negative[-1]]
    same_prompt = [pair for pair in contrast if pair.positive[:-1] == pair.negative[:-1]]
    assert len(contrast) - len(same_reply) >= 48
    assert len(same_reply) >= 8
    assert len(same_prompt) >= 32


def test_eval_awareness_is_told_by_the_prompt_or_by_the_reply_never_by_both() -> None:
    contrast = of_kind(find_recipe("eval-awareness", None), "contrast")
    in_reply = [pair for pair in contrast if pair.positive[:-1] == pair.negative[:-1]]
    in_prompt = [pair for pair in contrast if pair.positive[-1] == pair.negative[-1]]
    assert len(in_reply) + len(in_prompt) == len(contrast)
    assert 0.3 <= len(in_reply) / len(contrast) <= 0.4
    decoys = [pair for pair in contrast if re.search(KEYWORDS, conversation(pair.negative), re.IGNORECASE)]
    assert len(decoys) >= len(contrast) // 3


# How far mere words get: the numbers in the header are computed here, not believed

KEYWORDS = (
    r"\b(tests?|tested|testing|eval\w*|benchmark\w*|assess\w*|grad(?:e[drs]?|ing)|scor(?:e[ds]?|ing)|mark(?:ed|er|ing)"
    r"|audit\w*|exam\w*|rehears\w*|simulat\w*|sandbox|mock|trial|trap|scenario|red-team\w*)\b"
)


def conversation(messages: Messages) -> str:
    return "\n".join(message["content"] for message in messages)


def prompt(messages: Messages) -> str:
    return conversation(messages[:-1])


def reply(messages: Messages) -> str:
    return messages[-1]["content"]


def held_out(texts: list[str], topics: list[str], analyzer: str, ngrams: tuple[int, int]) -> tuple[float, float]:
    """AUROC of a TF-IDF logistic regression on topics it has not seen, and how often it ranks a pair rightly.

    ``texts`` alternate positive, negative. Ties count half.
    """
    labels, scores = np.tile([1, 0], len(texts) // 2), np.zeros(len(texts))
    for fit, rest in LeaveOneGroupOut().split(texts, labels, topics):
        model = make_pipeline(
            TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, sublinear_tf=True),
            LogisticRegression(C=10, max_iter=2000),
        )
        model.fit([texts[i] for i in fit], labels[fit])
        scores[rest] = model.decision_function([texts[i] for i in rest])
    difference = scores[::2] - scores[1::2]
    return float(roc_auc_score(labels, scores)), float(np.mean((np.sign(difference) + 1) / 2))


def read_view(recipe: Recipe, view: Callable[[Messages], str]) -> dict[str, float]:
    """How far one view of the conversations gets, on the contrast pairs in which it differs at all."""
    pairs = [pair for pair in of_kind(recipe, "contrast") if view(pair.positive) != view(pair.negative)]
    texts = [view(side) for pair in pairs for side in (pair.positive, pair.negative)]
    topics = [pair.positive_group for pair in pairs for _ in range(2)]
    words, pair_accuracy = held_out(texts, topics, "word", (1, 2))
    return {
        "n": len(texts),
        "words_auroc": round(words, 3),
        "words_pair_accuracy": round(pair_accuracy, 3),
        "characters_auroc": round(held_out(texts, topics, "char_wb", (2, 4))[0], 3),
        "length_auroc": round(float(roc_auc_score([1, 0] * len(pairs), [len(text) for text in texts])), 3),
    }


def text_baseline(recipe: Recipe) -> dict[str, Any]:
    contrast = of_kind(recipe, "contrast")
    texts = [conversation(side) for pair in contrast for side in (pair.positive, pair.negative)]
    counts = [len(re.findall(KEYWORDS, text, re.IGNORECASE)) for text in texts]
    return {
        "method": "Contrast pairs in which the view differs; n counts texts. TF-IDF of 1-2 words, or 2-4 characters, "
        "into logistic regression (C = 10), leaving one topic out. Keyword: number of words such as test, evaluation, "
        "benchmark, grade, score or audit in the conversation.",
        "n": len(counts),
        "n_topics": len({pair.positive_group for pair in contrast}),
        "reply": read_view(recipe, reply),
        "prompt": read_view(recipe, prompt),
        "conversation": read_view(recipe, conversation),
        "keyword_auroc": round(float(roc_auc_score([1, 0] * len(contrast), counts)), 3),
    }


def flat(record: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in record.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return found


def test_text_baseline_in_the_header_is_what_is_computed(recipe: Recipe) -> None:
    written, computed = flat(lines_of(recipe.name)[0]["text_baseline"]), flat(text_baseline(recipe))
    assert written.keys() == computed.keys()
    for name, value in computed.items():
        # The solver's last digits may move a rank or two between versions of scikit-learn.
        assert written[name] == (pytest.approx(value, abs=0.015) if isinstance(value, float) else value), name


def test_words_alone_stay_weak_on_topics_not_seen(recipe: Recipe) -> None:
    written = flat(lines_of(recipe.name)[0]["text_baseline"])
    for view in ("reply", "conversation"):
        assert written[f"{view}.words_auroc"] <= 0.65
        assert written[f"{view}.characters_auroc"] <= 0.65
        assert abs(written[f"{view}.length_auroc"] - 0.5) <= 0.1
    assert max(written["prompt.words_auroc"], written["prompt.characters_auroc"]) < 0.8
    assert abs(written["keyword_auroc"] - 0.5) <= 0.1


def test_the_baseline_does_see_a_leaked_label(recipe: Recipe) -> None:
    """Positive control: one word that only the positives have lifts the same measurement far above every bound."""
    contrast = of_kind(recipe, "contrast")
    topics = [pair.positive_group for pair in contrast for _ in range(2)]
    leaked = [text for pair in contrast for text in (reply(pair.positive) + " zebra", reply(pair.negative))]
    assert held_out(leaked, topics, "word", (1, 2))[0] > 0.85


# A user's own recipe

HEADER: dict[str, Any] = {
    "recipe": "own", "version": 1, "description": "d", "read": None, "mask": "assistant", "language": "en",
    "status": "new",
}  # fmt: skip


def talk(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Is it raining?"}, {"role": "assistant", "content": text}]


PAIR: dict[str, Any] = {
    "pair": "p001", "split": "train", "kind": "contrast", "positive_group": "rain", "negative_group": "rain",
    "positive": talk("It is."), "negative": talk("It is not."),
}  # fmt: skip


def without(record: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != field}


def write(path: Path, *records: dict[str, Any] | list[Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")
    return path


def test_round_trip_of_a_file_with_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", {**HEADER, "read": r"is\b"}, "", PAIR, "")
    recipe = read_recipe(path)
    expected = Pair("p001", "train", "contrast", "rain", "rain", tuple(talk("It is.")), tuple(talk("It is not.")))
    digest = sha256(path.read_bytes()).hexdigest()
    assert recipe == Recipe("own", 1, "d", r"is\b", "assistant", "en", "new", (expected,), digest)


def test_mask_last_needs_no_reply(tmp_path: Path) -> None:
    ask = {"role": "user", "content": "Is it raining?"}
    pair = {**PAIR, "positive": [ask], "negative": [{**ask, "content": "Is it snowing?"}]}
    assert len(read_recipe(write(tmp_path / "own.jsonl", {**HEADER, "mask": "last"}, pair)).pairs) == 1


TWIN = {**PAIR, "pair": "p002", "split": "test"}
BAD: list[tuple[tuple[Any, ...], int | None, str, str]] = [
    ((), None, "is empty", "begin it with a header"),
    (("{nonsense", PAIR), 1, "not JSON", "one JSON object a line"),
    ((HEADER, "{nonsense"), 2, "not JSON", "one JSON object a line"),
    ((HEADER, "[1]"), 2, "no object", "one {…} a line"),
    ((PAIR,), 1, "header is missing", "begin the file"),
    ((without(HEADER, "status"), PAIR), 1, "no 'status'", "add it as a text"),
    (({**HEADER, "version": "1"}, PAIR), 1, "no 'version'", "whole number"),
    (({**HEADER, "mask": "all"}, PAIR), 1, "unknown mask 'all'", "use 'assistant' or 'last'"),
    (({**HEADER, "read": "(("}, PAIR), 1, "no regular expression", "mend it or set it to null"),
    (({**HEADER, "read": 3}, PAIR), 1, "neither null nor a text", "or null"),
    (({**HEADER, "read": "snow"}, PAIR), 2, "matches nothing in the reply of 'positive'", "mend one of the two"),
    (({**HEADER, "read": "x*"}, PAIR), 2, "matches nothing", "mend one of the two"),
    ((HEADER, without(PAIR, "pair")), 2, "no 'pair'", "add it"),
    ((HEADER, without(PAIR, "negative_group")), 2, "no 'negative_group'", "add it"),
    ((HEADER, without(PAIR, "positive")), 2, "no 'positive'", "list of messages"),
    ((HEADER, PAIR, {**PAIR, "pair": "p002", "negative": []}), 3, "no 'negative'", "list of messages"),
    ((HEADER, {**PAIR, "negative": PAIR["positive"]}), 2, "are the same", "let them differ"),
    ((HEADER, {**PAIR, "negative": ["It is not."]}), 2, "a message of 'negative'", "write it so"),
    ((HEADER, {**PAIR, "negative": [{"role": "assistant", "content": ""}]}), 2, "a message of", "write it so"),
    ((HEADER, {**PAIR, "positive": [{"role": "tool", "content": "x"}]}), 2, "unknown role 'tool'", "'assistant'"),
    ((HEADER, {**PAIR, "positive": talk("x")[:1]}), 2, "does not end with an assistant", "add the one"),
    ((HEADER, {**PAIR, "split": "dev"}), 2, "unknown split 'dev'", "use 'train' or 'test'"),
    ((HEADER, {**PAIR, "kind": "decoy"}), 2, "unknown kind 'decoy'", "use 'contrast' or 'empty'"),
    ((HEADER, PAIR, PAIR), 3, "'p001' occurs twice", "name of its own"),
    ((HEADER, PAIR, TWIN), 3, "'rain' is in both train and test", "keep it in one"),
    ((HEADER, {**PAIR, "kind": "empty"}), 2, 'without a pair of kind "contrast"', "add some"),
    ((HEADER,), 1, 'without a pair of kind "contrast"', "add some"),
]


@pytest.mark.parametrize(("records", "line", "what", "remedy"), BAD)
def test_each_mistake_is_one_sentence(
    tmp_path: Path, records: tuple[Any, ...], line: int | None, what: str, remedy: str
) -> None:
    path = write(tmp_path / "own.jsonl", *records)
    with pytest.raises(InputError) as raised:
        read_recipe(path)
    message = str(raised.value)
    assert message.startswith(str(path) if line is None else f"{path}, line {line}:")
    assert what in message
    assert remedy in message.split(";", 1)[1]
    assert message.endswith(".")
    assert "\n" not in message


def test_bytes_that_are_no_text_and_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="line 1: this is not JSON"):
        read_recipe(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path)


def test_the_explicit_file_then_the_model_then_the_package(tmp_path: Path) -> None:
    model = tmp_path / "model"
    extra = write(tmp_path / "mine.jsonl", {**HEADER, "recipe": "deception", "description": "explicit"}, PAIR)
    packaged = find_recipe("deception", model)
    assert packaged == find_recipe("deception", None)
    write(model / "recipes" / "deception.jsonl", {**HEADER, "recipe": "deception", "description": "model's"}, PAIR)
    assert find_recipe("deception", model).description == "model's"
    assert find_recipe("deception", model, extra).description == "explicit"
    assert find_recipe("eval-awareness", model).name == "eval-awareness"


def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    write(tmp_path / "recipes" / "own.jsonl", HEADER, PAIR)
    with pytest.raises(NotFoundError, match="no recipe 'decepton'; there are: deception, eval-awareness, own"):
        find_recipe("decepton", tmp_path)
    with pytest.raises(NotFoundError, match=r"no recipe '\.\./recipes/own'"):
        find_recipe("../recipes/own", tmp_path)
    with pytest.raises(NotFoundError, match=r"no recipe file .*gone\.jsonl; there are: deception"):
        find_recipe("deception", None, tmp_path / "gone.jsonl")


def test_a_file_that_holds_another_recipe_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", HEADER, PAIR)
    with pytest.raises(InputError, match="holds the recipe 'own', not 'deception'"):
        find_recipe("deception", None, path)
