"""The measures of the retrieval benchmark against numbers worked out by hand, and its checks of the query set."""

from __future__ import annotations

import importlib.util
import sys
from math import isnan, log2
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


def _load(name: str) -> ModuleType:
    """A module of the benchmarks, which are scripts and no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "bench" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look their module up there.
    spec.loader.exec_module(module)
    return module


ranking = _load("ranking")
_load("query_scopes")
listed = _load("query_texts").LISTED
queries = _load("queries")


def test_content_stems_leave_out_function_words_and_endings() -> None:
    assert ranking.content_stems("Which of the flights were REFUNDED, and why?") == {"flight", "refund"}
    assert ranking.content_stems("refunding a flight") == ranking.content_stems("The flights' refunds")
    assert ranking.content_stems("It's what they would have done themselves.") == frozenset()
    assert not ranking.content_stems("pet illness") & ranking.content_stems("My cat is sick.")


def test_ndcg_of_graded_judgements() -> None:
    grades = {"a": 2, "b": 1, "c": 1}
    best = 3 + 1 / log2(3) + 1 / 2
    assert ranking.ndcg(["a", "b", "c"], grades) == 1.0
    assert ranking.ndcg(["a", "c", "b", "x"], grades) == 1.0
    assert ranking.ndcg(["x", "b", "a"], grades) == pytest.approx((1 / log2(3) + 3 / 2) / best)
    assert ranking.ndcg(["x", "y"], grades) == ranking.ndcg([], grades) == 0.0


def test_ndcg_reads_no_further_than_its_depth() -> None:
    many = dict.fromkeys(range(50), 1)
    assert ranking.ndcg(list(range(10)), many) == pytest.approx(1.0)
    assert ranking.ndcg([-1, 0], many, k=1) == 0.0
    assert ranking.ndcg([*range(-10, 0), 0], many) == 0.0


def test_ndcg_refuses_what_has_no_answer() -> None:
    with pytest.raises(ValueError, match="nothing is relevant"):
        ranking.ndcg(["a"], {"a": 0})
    with pytest.raises(ValueError, match="each item once"):
        ranking.ndcg(["a", "a"], {"a": 1})


def test_first_of_each_folds_equals_and_keeps_the_order() -> None:
    same = {1: 1, 2: 1, 3: 3, 4: 4}
    assert ranking.first_of_each([4, 2, 9, 1, 3, 4], same) == [4, 1, 3]


def test_bootstrap_draws_whole_groups() -> None:
    values = [0.0] * 50 + [1.0] * 50
    estimate = ranking.bootstrap_mean(values, ["a"] * 50 + ["b"] * 50)
    # Of two groups half the draws hold one of them twice.
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0.0, 1.0)
    assert (estimate.n, estimate.n_groups) == (100, 2)
    alone = ranking.bootstrap_mean(values, [str(i) for i in range(100)])
    assert alone.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)
    assert alone.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.02)


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    groups = [str(i // 5) for i in range(200)]
    covered = 0
    for draw in range(200):
        values = (rng.normal(size=40).repeat(5) + rng.normal(size=200)).tolist()
        estimate = ranking.bootstrap_mean(values, groups, seed=draw, n_draws=500)
        covered += estimate.low <= 0 <= estimate.high
    assert 0.88 <= covered / 200 <= 0.99


def test_bootstrap_of_one_group_says_nothing_of_others() -> None:
    estimate = ranking.bootstrap_mean([1.0, 2.0], ["a", "a"])
    assert estimate.mean == 1.5
    assert isnan(estimate.low)
    assert isnan(estimate.high)
    with pytest.raises(ValueError, match="at least one value"):
        ranking.bootstrap_mean([], [])


def test_bootstrap_ratio_is_of_means_and_exact_where_paired_values_are_proportional() -> None:
    under = [0.1, 0.5, 0.9, 0.4]
    estimate = ranking.bootstrap_ratio([value * 0.9 for value in under], under, ["a", "b", "c", "d"])
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.9, 0.9, 0.9))
    assert ranking.bootstrap_ratio([1.0, 0.0], [1.0, 1.0], ["a", "b"]).mean == 0.5
    assert isnan(ranking.bootstrap_ratio([1.0], [0.0], ["a"]).mean)


def _set(text: str, kind: str, n_relevant: int = 5) -> tuple[list[object], dict[str, object]]:
    """One query in a corpus of 100 episodes, of which the first ones are relevant."""
    texts = {item: ("My cat is sick.", f"Flight {item}") if item < n_relevant else ("Nothing",) for item in range(100)}
    corpus = queries.Corpus(("text",), ("user",), texts, {item: item for item in texts})
    query = queries.Query("one", text, kind, "scope", "folder", dict.fromkeys(range(n_relevant), 1))
    return [query], {"scope": corpus}


def _faults(text: str, kind: str, n_relevant: int = 5) -> str:
    return " / ".join(queries.faults(*_set(text, kind, n_relevant)))


def test_a_paraphrase_that_shares_a_stem_is_a_fault() -> None:
    assert "shares flight with its answers" in _faults("flights of pets", "paraphrase")
    assert "with its answers" not in _faults("pet illness, which is nothing", "paraphrase")


def test_a_direct_query_that_shares_nothing_is_a_fault() -> None:
    assert "shares no word" in _faults("pet illness", "direct")
    assert "shares no word" not in _faults("sick cats", "direct")


def test_too_few_relevant_or_too_many_for_the_corpus_is_a_fault() -> None:
    assert "has 4 relevant" in _faults("cats", "direct", 4)
    assert "more than a tenth" in _faults("cats", "direct", 11)
    assert "relevant" not in _faults("cats", "direct", 10)


def test_a_set_of_few_paraphrases_or_folders_is_a_fault() -> None:
    assert "0 of 1 queries are paraphrases" in _faults("cats", "direct")
    assert "fewer than 8 folders" in _faults("cats", "direct")


def test_no_query_is_asked_twice() -> None:
    asked = [(one.scope, one.text) for one in listed]
    assert len(set(asked)) == len(asked) >= 90
    assert {one.kind for one in listed} == set(queries.KINDS)
