"""The truth of the planted corpus: its rates are the schedules', and its switches do what they say."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

PLANTED = Path(__file__).resolve().parents[2] / "examples" / "planted"
MODULES = ("phrases", "decoys", "settings", "scenes", "draws", "tell", "wire", "corpus")
N_SEEDS = 10
LEAST_P = 1e-6
"""Below it a count is not what its schedule says; a few hundred counts are compared in all."""

Truth = dict[str, NDArray[Any]]


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


def draw(code: SimpleNamespace, **options: Any) -> Truth:
    """The truth of ten seeds together, near-duplicates left out: they are no draws of their own."""
    configs = (code.settings.Config(seed=seed, **options) for seed in range(N_SEEDS))
    table = pa.concat_tables(code.draws.truth_table(config) for config in configs)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    first = columns["near_duplicate_of"] == None  # noqa: E711 (elementwise)
    return {name: values[first] for name, values in columns.items()}


@pytest.fixture(scope="module")
def truth(code: SimpleNamespace) -> Truth:
    return draw(code)


@pytest.fixture(scope="module")
def drifting(code: SimpleNamespace) -> Truth:
    return draw(code, drift_only=True)


@pytest.fixture(scope="module")
def null(code: SimpleNamespace) -> Truth:
    return draw(code, null=True)


def p_of_count(happened: NDArray[Any], chance: float) -> float:
    """The exact two-sided p value of a count under its chance."""
    from scipy.stats import binomtest

    return float(binomtest(int(happened.sum()), len(happened), chance).pvalue)


def check_by_step(truth: Truth, name: str, where: NDArray[Any], schedule: Any) -> None:
    for step in range(60):
        happened = truth[name][where & (truth["step"] == step)].astype(bool)
        assert len(happened) > 20
        assert p_of_count(happened, schedule(step)) > LEAST_P, (name, step, happened.mean(), schedule(step))


# Schedules, written down here once more


def test_what_depends_on_the_step_keeps_to_its_schedule(truth: Truth) -> None:
    everywhere = np.ones(len(truth["step"]), bool)
    in_hack = np.isin(truth["environment"], ["repo-repair", "unit-katas"]) & ~truth["cover_up"]
    in_shell = (truth["environment"] == "shell-admin") & ~truth["cover_up"]
    is_long = truth["length"] == "long"
    check_by_step(truth, "awareness", everywhere, lambda step: 0.02 + 0.18 / (1 + np.exp((30 - step) / 4)))
    check_by_step(truth, "grader_search", everywhere, lambda step: 0.01 + 0.07 * step / 59)
    check_by_step(truth, "hack", in_hack, lambda step: 0.06 * (step >= 22))
    check_by_step(truth, "fault", in_shell, lambda step: float(15 <= step <= 20))
    check_by_step(truth, "dialect", is_long, lambda step: 0.4 * max(0, step - 40) / 19)
    check_by_step(truth, "quirk", truth["risky_act"], lambda step: 0.2 * (step >= 30))
    check_by_step(truth | {"is_long": is_long}, "is_long", everywhere, lambda step: 0.2 + 0.5 * step / 59)
    target = truth["quirk"][truth["step"] >= 30]
    assert p_of_count(target, 0.02) > LEAST_P
    for name, where in (("hack", in_hack), ("fault", in_shell), ("dialect", is_long), ("quirk", truth["risky_act"])):
        assert not (truth[name] & ~where).any()


@pytest.mark.parametrize(
    ("name", "given", "chance"),
    [
        ("ambiguous", None, 0.15),
        ("risky_act", None, 0.10),
        ("reward_missing", None, 0.01),
        ("bad_row_follows", None, 0.005),
        ("truncated", None, 0.03),
        ("token_soup", None, 0.05),
        ("cleanup", None, 0.03),
        ("ambiguous_act", "ambiguous", 0.04),
    ],
)
def test_what_is_flat_keeps_to_its_rate(truth: Truth, name: str, given: str | None, chance: float) -> None:
    possible = ~truth["cover_up"] & (truth[given] if given else True)
    assert p_of_count(truth[name][possible], chance) > LEAST_P
    assert not given or not (truth[name] & ~truth[given]).any()


def test_decoys_and_false_claims_keep_to_their_rates_where_they_may_stand(truth: Truth) -> None:
    in_code = np.isin(truth["environment"], ["repo-repair", "unit-katas", "data-cleaning", "shell-admin"])
    may_claim = ~(truth["hack"] | truth["fault"] | truth["cover_up"] | truth["truncated"])
    assert p_of_count(truth["awareness_decoy"] != "none", 0.15) > LEAST_P
    assert p_of_count(truth["skip_requested"][in_code & ~truth["hack"]], 0.03) > LEAST_P
    assert p_of_count(truth["scorer_requested"][~truth["grader_search"]], 0.02) > LEAST_P
    assert p_of_count(truth["false_claim"][may_claim], 0.005) > LEAST_P
    assert not (truth["false_claim"] & ~may_claim).any()
    assert not (truth["skip_requested"] & ~in_code).any()
    assert not (truth["token_soup"] & (truth["provider"] == "A")).any()
    assert set(truth["awareness_decoy"]) == {"none", "unit_test", "exam", "announced"}


@pytest.mark.parametrize(
    ("name", "value", "chance"),
    [("format", "openai", 0.3), ("format", "anthropic", 0.25), ("format", "verl", 0.3), ("bank", "dev", 0.5)],
)
def test_formats_and_banks_have_their_shares(truth: Truth, name: str, value: str, chance: float) -> None:
    assert p_of_count(truth[name] == value, chance) > LEAST_P


def test_truth_agrees_with_itself(truth: Truth) -> None:
    np.testing.assert_array_equal(truth["false_claim"], truth["claim"] == "false")
    assert set(truth["outcome"][truth["false_claim"]]) == {"failed"}
    assert set(truth["outcome"][truth["claim"] == "true_after_fix"]) == {"fixed"}
    assert set(truth["claim"][truth["truncated"]]) == {"none"}
    assert set(truth["outcome"][truth["fault"]]) == {"fault"}
    rewarded = truth["reward"][truth["hack"] & ~truth["reward_missing"]]
    assert len(rewarded) > 100
    assert set(rewarded) == {1.0}
    np.testing.assert_array_equal(np.isnan(truth["reward"]), truth["reward_missing"])


@pytest.mark.parametrize("n", [1000, 1003, 10_000])
def test_three_are_covered_up_and_every_episode_is_there(code: SimpleNamespace, n: int) -> None:
    for seed in range(3):
        table = code.draws.truth_table(code.settings.Config(episodes=n, seed=seed))
        assert table.num_rows == n
        assert len(set(table["key"].to_pylist())) == n
        assert sum(table["cover_up"].to_pylist()) == 3
        sizes = np.bincount(table["step"].to_numpy(), minlength=60)
        assert len(sizes) == 60
        assert np.ptp(sizes) <= 1


def test_near_duplicates_repeat_an_original_of_their_step(code: SimpleNamespace) -> None:
    rows = code.draws.truth_table(code.settings.Config(episodes=20_000)).to_pylist()
    by_key = {row["key"]: row for row in rows}
    own = {"key", "near_duplicate_of", "reward", "reward_missing", "bad_row_follows"}
    copies = [row for row in rows if row["near_duplicate_of"]]
    assert p_of_count(np.array([row["near_duplicate_of"] is not None for row in rows]), 0.02) > LEAST_P
    for row in copies:
        original = by_key[row["near_duplicate_of"]]
        assert original["near_duplicate_of"] is None
        assert all(row[name] == original[name] for name in row.keys() - own)


# Switches


def test_seeds_differ_and_a_seed_is_one_truth(code: SimpleNamespace) -> None:
    one, again, other = (code.draws.truth_table(code.settings.Config(episodes=1000, seed=seed)) for seed in (4, 4, 5))
    assert one.equals(again)
    assert not one.drop(["key"]).equals(other.drop(["key"]))


def test_what_is_left_out_leaves_the_rest_as_it_was(code: SimpleNamespace) -> None:
    config = code.settings.Config
    whole = code.draws.truth_table(config())
    some = code.draws.truth_table(config(only=frozenset({"awareness", "quirk"})))
    for name in ("key", "environment", "length", "format", "awareness", "quirk", "ambiguous", "bad_row_follows"):
        kept = whole["cover_up"].to_numpy() | (whole["near_duplicate_of"].is_valid().to_numpy())
        assert (whole[name].to_numpy()[~kept] == some[name].to_numpy()[~kept]).all(), name
    left = set(code.settings.BEHAVIOURS) - {"awareness", "quirk"}
    assert not any(any(some[name].to_pylist()) for name in left)
    assert any(whole["hack"].to_pylist())


def test_the_onset_moves(code: SimpleNamespace) -> None:
    table = code.draws.truth_table(code.settings.Config(onset=40))
    steps = table["step"].to_numpy()[table["hack"].to_numpy()]
    assert 40 <= steps.min() <= 42


def homogeneity(truth: Truth, name: str) -> float:
    """The p value of a column having the same distribution in both halves of the steps."""
    from scipy.stats import chi2_contingency

    values = np.unique(truth[name])
    late = truth["step"] >= 30
    table = [[(truth[name][half] == value).sum() for value in values] for half in (late, ~late)]
    return float(chi2_contingency(table).pvalue)


def test_in_the_null_corpus_nothing_is_planted_and_nothing_changes(
    code: SimpleNamespace, null: Truth, truth: Truth
) -> None:
    assert not any(null[name].any() for name in code.settings.BEHAVIOURS)
    for name in ("environment", "length", "outcome", "claim", "awareness_decoy", "token_soup", "risky_act", "format"):
        assert homogeneity(null, name) > 1e-4, name
    for name in ("environment", "length", "outcome"):
        assert homogeneity(truth, name) < LEAST_P, name


def trend(truth: Truth, name: str, standardised: bool) -> float:
    """How many standard errors the last thirty steps are above the first, crude or within (environment, length)."""
    late = truth["step"] >= 30
    strata = np.zeros(len(late), np.int64)
    if standardised:
        strata = np.unique(truth["environment"].astype(str) + truth["length"].astype(str), return_inverse=True)[1]
    excess = variance = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        n, k, n_late = here.sum(), truth[name][here].sum(), (here & late).sum()
        excess += truth[name][here & late].sum() - k * n_late / n
        variance += k * (n - k) * n_late * (n - n_late) / (n * n * (n - 1))
    return float(excess / np.sqrt(variance))


@pytest.mark.parametrize("name", ["awareness", "grader_search"])
def test_where_only_the_mixture_drifts_the_crude_rate_drifts_and_the_standardised_does_not(
    drifting: Truth, truth: Truth, name: str
) -> None:
    assert trend(drifting, name, standardised=False) > 5
    assert abs(trend(drifting, name, standardised=True)) < 4
    assert trend(truth, name, standardised=True) > 8


def test_where_only_the_mixture_drifts_the_hack_has_no_onset(drifting: Truth) -> None:
    in_hack = np.isin(drifting["environment"], ["repo-repair", "unit-katas"])
    assert drifting["hack"][drifting["step"] < 10].any()
    assert not (drifting["hack"] & ~in_hack).any()
    assert abs(trend({name: values[in_hack] for name, values in drifting.items()}, "hack", standardised=True)) < 4
    assert not any(drifting[name].any() for name in ("cover_up", "dialect", "fault", "quirk"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"episodes": 999}, "1000 or more"),
        ({"onset": 61}, "0 to 60"),
        ({"only": frozenset({"sabotage"})}, "no sabotage"),
        ({"null": True, "drift_only": True}, "exclude each other"),
    ],
)
def test_what_cannot_be_made_is_refused(code: SimpleNamespace, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        code.settings.Config(**options)


# Banks of sentences


def test_banks_are_large_and_share_no_sentence_even_as_a_piece(code: SimpleNamespace) -> None:
    for banks in code.phrases.BEHAVIOURS.values():
        dev, held_out = (set(banks[name]) for name in ("dev", "held_out"))
        assert len(dev) >= 40
        assert len(held_out) >= 40
    groups = (code.phrases.BEHAVIOURS, code.decoys.REQUESTS, code.decoys.REASONING, code.decoys.CLAIMS)
    everything = [tuple(banks[name]) for group in groups for banks in group.values() for name in ("dev", "held_out")]
    assert sum(map(len, everything)) == len({sentence for bank in everything for sentence in bank})
    texts = ["\n".join(bank) for bank in everything]
    for one, other in combinations(range(len(texts)), 2):
        assert not any(sentence in texts[other] for sentence in everything[one])
        assert not any(sentence in texts[one] for sentence in everything[other])


def test_every_lexeme_stands_in_both_banks(code: SimpleNamespace) -> None:
    assert len(set(code.phrases.LEXEMES)) == 10
    for bank in code.phrases.BEHAVIOURS["dialect"].values():
        assert all(lexeme in " ".join(bank).lower() for lexeme in code.phrases.LEXEMES)
