"""Steering against known answers: what a vector must do to the next token, and what outcomes must mean."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from investigate.analysis.model.generate import sample
from investigate.analysis.model.steer import Direction, Outcome, Plan, Prompt, arms, difference_interval, steer, verdict
from investigate.store.errors import ModelError, UsageError

PROMPT = [5, 9, 12, 7]


def forcing_vector(loaded: Any, token: int) -> torch.Tensor:
    """A vector for the last block that makes one token by far the likeliest."""
    weight = loaded.model.lm_head.weight
    row = weight[token]
    vector = row - weight.mean(0)
    return 1e4 * vector / vector.norm()


def forced(loaded: Any, vector: torch.Tensor) -> int:
    model = loaded.model
    norm = next(child for child in model.base_model.children() if "norm" in type(child).__name__.lower())
    return int(model.lm_head(norm(vector[None])).argmax())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_positions_are_different_interventions(tiny_loaded: Any, architecture: str) -> None:
    loaded = tiny_loaded(architecture, head=True)
    vector = forcing_vector(loaded, 33)
    token = forced(loaded, vector)
    vectors = torch.stack([vector] * 6 + [torch.zeros_like(vector)] * 6)
    layer = loaded.n_layers - 1
    got = {
        positions: sample(
            loaded, PROMPT, vectors, layer=layer, positions=positions, max_new_tokens=5, temperature=0.5, seed=1
        )
        for positions in ("all", "generated", "last")
    }  # fmt: skip
    for positions in ("all", "generated"):
        assert all(row == [token] * len(row) for row in got[positions][:6])
    assert all(row[0] == token for row in got["last"][:6])
    assert any(row != [token] * len(row) for row in got["last"][:6])
    # Rows are steered each by its own vector: the others are as without steering.
    plain = sample(
        loaded, PROMPT, torch.zeros(12, loaded.d_model), layer=layer, max_new_tokens=5, temperature=0.5, seed=1
    )
    assert all(rows[6:] == plain[6:] for rows in got.values())


def test_the_same_seed_gives_the_same_samples_and_hooks_are_gone(tiny_loaded: Any) -> None:
    loaded = tiny_loaded("llama", head=True)
    vectors = torch.randn(4, loaded.d_model, generator=torch.Generator().manual_seed(0))
    blocks = loaded.model.base_model.layers
    # The library keeps hooks of its own on a model that was once asked for its hidden states.
    before = [len(block._forward_hooks) for block in blocks]
    first, second = (
        sample(loaded, PROMPT, vectors, layer=1, max_new_tokens=6, temperature=1.0, seed=3) for _ in range(2)
    )
    assert first == second
    assert [len(block._forward_hooks) for block in blocks] == before


def test_a_prompt_that_fills_the_context_is_refused(tiny_loaded: Any) -> None:
    loaded = tiny_loaded("llama", head=True)
    with pytest.raises(ModelError, match="earlier turn"):
        sample(loaded, [5] * 512, torch.zeros(1, 32), layer=1, max_new_tokens=1, temperature=1.0, seed=0)


def test_random_directions_have_the_norm_of_the_direction(tiny_loaded: Any) -> None:
    from investigate.analysis.model.steer import _rows

    direction = np.full(32, 0.5, np.float32)
    plan = Plan((-2.0, 2.0, 1.0), re.compile("x"), n=3, n_random=4)
    labels, vectors = _rows(direction, plan)
    norms = vectors.norm(dim=1).numpy()
    for (name, strength, _), norm in zip(labels, norms, strict=True):
        expected = 0 if name == "none" else abs(strength) * np.linalg.norm(direction)
        assert norm == pytest.approx(expected, rel=1e-5)
    assert len(labels) == 3 * (1 + 3 + 2 * 4)


def outcomes(direction: str, strength: float, k: int, n: int, episode: int = 1) -> list[Outcome]:
    return [Outcome(episode, direction, strength, i, i < k, None, "") for i in range(n)]


def null(strength: float, rates: list[int], n: int = 20) -> list[Outcome]:
    return [o for i, k in enumerate(rates) for o in outcomes(f"random-{i}", strength, k, n)]


def test_a_specific_effect() -> None:
    baseline, arm = arms(outcomes("none", 0, 2, 50) + outcomes("probe", -1.5, 45, 50) + null(1.5, [1, 0, 2, 1] * 5))
    assert (arm.rate.rate, arm.percentile) == (0.9, 1.0)
    assert "raises the outcome" in verdict(baseline, arm)


def test_an_effect_that_random_directions_share_is_not_specific() -> None:
    baseline, arm = arms(outcomes("none", 0, 2, 50) + outcomes("probe", 1, 30, 50) + null(1, [12, 14, 13, 12] * 5))
    assert "not specific" in verdict(baseline, arm)


def test_no_effect_and_no_null() -> None:
    baseline, arm = arms(outcomes("none", 0, 10, 50) + outcomes("probe", 1, 12, 50) + null(1, [4] * 20))
    assert "no effect shown" in verdict(baseline, arm)
    baseline, arm = arms(outcomes("none", 0, 0, 50) + outcomes("probe", 1, 50, 50))
    assert "nothing says it is the concept" in verdict(baseline, arm)
    assert np.isnan(arm.percentile)


def test_steering_a_model_counts_what_is_written(tiny_loaded: Any) -> None:
    loaded = tiny_loaded("llama", head=True)
    vector = forcing_vector(loaded, 33)
    word = loaded.tokenizer.decode([forced(loaded, vector)])
    plan = Plan(
        (1.0,), re.compile(re.escape(word)), valid=re.compile("(?s)."), n=8, n_random=2, max_new_tokens=3,
        temperature=0.5,
    )  # fmt: skip
    direction = Direction(loaded.n_layers - 1, vector.numpy().astype(np.float32))
    got = list(steer(loaded, [Prompt(1, tuple(PROMPT), 1), Prompt(2, tuple(PROMPT[:3]), 0)], direction, plan))
    assert len(got) == 2 * 8 * (1 + 1 + 2)
    baseline, arm = arms(got)
    assert (arm.rate.k, arm.rate.n) == (16, 16)
    assert baseline.rate.rate < 1
    assert [rate.n for _, rate in arm.episodes] == [8, 8]


def test_samples_of_one_episode_are_not_many_episodes() -> None:
    """Two episodes that differ in everything: each alone is certain, together they show nothing."""
    none = outcomes("none", 0, 0, 50, episode=1) + outcomes("none", 0, 50, 50, episode=2)
    steered = outcomes("probe", 1, 50, 50, episode=1) + outcomes("probe", 1, 40, 50, episode=2)
    baseline, arm = arms(none + steered + null(1, [10] * 20))
    low, high = difference_interval(baseline, arm)
    assert low < 0 < high
    assert "no effect shown" in verdict(baseline, arm)


def test_broken_text_is_said() -> None:
    def marked(direction: str, strength: float, k: int, n_valid: int) -> list[Outcome]:
        return [replace(o, valid=i < n_valid) for i, o in enumerate(outcomes(direction, strength, k, 50))]

    got = arms(marked("none", 0, 25, 50) + marked("probe", 2, 0, 10) + null(2, [0] * 20))
    assert "20% of the texts well-formed" in verdict(*got)


def test_an_outcome_that_is_kept_already_is_refused(tiny_loaded: Any) -> None:
    loaded = tiny_loaded("llama", head=True)
    word = loaded.tokenizer.decode(PROMPT[-1:])
    plan = Plan((1.0,), re.compile(re.escape(word)), n=1)
    with pytest.raises(UsageError, match="is kept of episode 1 already"):
        list(steer(loaded, [Prompt(1, tuple(PROMPT), 1)], Direction(1, np.ones(32, np.float32)), plan))
