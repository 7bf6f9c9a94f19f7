"""Fidelity: the author passes, a stranger fails, on tokens sampled here from models whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from investigate.analysis.model import fidelity as module
from investigate.analysis.model.calls import TokenCall
from investigate.analysis.model.fidelity import (
    Fidelity,
    TokenStatistics,
    fidelity,
    fit_temperature,
    judge_consistency,
    judge_logprobs,
)
from investigate.analysis.model.load import LoadedModel
from investigate.store.errors import ModelError

Loaded = Callable[..., LoadedModel]


def sampled(
    loaded: LoadedModel, n: int = 12, length: int = 60, temperature: float = 1.0, scaled: bool = True, seed: int = 0
) -> list[TokenCall]:
    """Calls that the model really wrote, with the logprobs its sampler had, scaled by the temperature or raw."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 400, (n, 8), generator=generator)
    logprobs: list[torch.Tensor] = []
    with torch.inference_mode():
        for _ in range(length):
            logits = loaded.model(ids).logits[:, -1]
            if temperature == 0:
                chosen = logits.argmax(-1, keepdim=True)
            else:
                chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            ids = torch.cat([ids, chosen], dim=1)
            seen = (logits / temperature if scaled and temperature else logits).log_softmax(-1)
            logprobs.append(seen.gather(-1, chosen)[:, 0])
    rows = torch.stack(logprobs, dim=1).tolist()
    return [
        TokenCall(index, row, [], "ids", 8, logged, "", [], True, None)
        for index, (row, logged) in enumerate(zip(ids.tolist(), rows, strict=True))
    ]


def without_logprobs(calls: list[TokenCall]) -> list[TokenCall]:
    return [replace(call, logprobs=None) for call in calls]


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize(("temperature", "scaled"), [(1.0, True), (0.6, True), (0.6, False)])
def test_the_author_passes_by_logprobs_at_any_temperature(
    tiny_loaded: Loaded, architecture: str, temperature: float, scaled: bool
) -> None:
    loaded = tiny_loaded(architecture, head=True)
    found = fidelity(loaded, sampled(loaded, temperature=temperature, scaled=scaled), temperature)
    assert (found.verdict, found.method, found.n_tokens) == ("pass", "logged logprobs", 720)
    assert found.temperature == pytest.approx(temperature if scaled else 1.0, abs=2e-3)
    assert found.mean_abs_dlogp is not None
    assert found.mean_abs_dlogp < 1e-3


def test_a_stranger_fails_by_logprobs(tiny_loaded: Loaded) -> None:
    found = fidelity(tiny_loaded("llama", 1, head=True), sampled(tiny_loaded("llama", head=True)))
    assert found.verdict == "fail"
    assert "reader" in (found.note or "")


def test_a_checkpoint_some_steps_away_is_neither_near_nor_far(tiny_loaded: Loaded, tiny_folder: Any) -> None:
    """Weights a little off: more noise, worse verdict."""
    from investigate.analysis.model.load import load_model

    calls = sampled(tiny_loaded("llama", head=True))
    deltas = []
    for noise in (0.001, 0.01, 0.1):
        drifted = load_model(str(tiny_folder("llama")), head=True, device="cpu")
        generator = torch.Generator().manual_seed(0)
        for weights in drifted.model.parameters():
            weights.add_(noise * weights.std() * torch.randn(weights.shape, generator=generator))
        deltas.append((fidelity(drifted, calls).verdict, fidelity(drifted, calls).mean_abs_dlogp or 0.0))
    assert [verdict for verdict, _ in deltas] == ["pass", "warn", "fail"]
    assert [delta for _, delta in deltas] == sorted(delta for _, delta in deltas)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "gpt2", "mistral"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_self_consistency_tells_author_from_stranger(tiny_loaded: Loaded, architecture: str, seed: int) -> None:
    author, stranger = tiny_loaded(architecture, head=True), tiny_loaded(architecture, 1, head=True)
    calls = without_logprobs(sampled(author, temperature=0.8, seed=seed))
    own, other = fidelity(author, calls, 0.8), fidelity(stranger, calls, 0.8)
    assert (own.verdict, own.method) == ("pass", "self-consistency")
    assert other.verdict == "fail"
    assert other.z is not None
    assert other.z > 6


def test_a_wrong_temperature_is_no_pass(tiny_loaded: Loaded) -> None:
    author = tiny_loaded("llama", head=True)
    assert fidelity(author, without_logprobs(sampled(author, temperature=0.5)), 1.0).verdict == "warn"
    assert fidelity(author, without_logprobs(sampled(author, temperature=1.0)), 0.5).verdict == "fail"


def test_greedy_text_is_judged_by_its_likeliest_tokens(tiny_loaded: Loaded) -> None:
    author, stranger = (tiny_loaded("llama", seed, head=True) for seed in (0, 1))
    calls = without_logprobs(sampled(author, temperature=0))
    own, other = fidelity(author, calls, 0.0), fidelity(stranger, calls, 0.0)
    assert (own.verdict, own.z, other.verdict) == ("pass", None, "fail")


def test_few_tokens_and_no_calls_are_unknown(tiny_loaded: Loaded) -> None:
    loaded = tiny_loaded("llama", head=True)
    assert fidelity(loaded, sampled(loaded, n=1, length=5)).verdict == "unknown"
    assert fidelity(loaded, []).verdict == "unknown"


def test_at_most_two_hundred_calls_run(tiny_loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("llama", head=True)
    monkeypatch.setattr(module, "MOST_CALLS", 5)
    found = fidelity(loaded, without_logprobs(sampled(loaded, n=12, length=10)))
    assert found.n_tokens == 50


def test_a_model_without_head_or_layers_is_refused(tiny_loaded: Loaded) -> None:
    calls = sampled(tiny_loaded("llama", head=True), n=2)
    with pytest.raises(ModelError, match="head=True"):
        fidelity(tiny_loaded("llama"), calls)
    with pytest.raises(ModelError, match="upper layers"):
        fidelity(tiny_loaded("llama", head=True, n_layers=2), calls)


def statistics(logp: Any, likeliest: Any = None) -> TokenStatistics:
    ones = np.ones(len(logp))
    return TokenStatistics(
        np.asarray(logp), ones, ones, np.asarray(ones if likeliest is None else likeliest, dtype=bool)
    )


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.0, "pass"), (0.019, "pass"), (0.021, "warn"), (0.099, "warn"), (0.11, "fail")]
)
def test_thresholds_of_dense_models(shift: float, verdict: str) -> None:
    logged = -np.linspace(0.1, 3, 100)
    assert judge_logprobs(logged, statistics(logged + shift), 1.0, mixture=False).verdict == verdict


def test_kl_is_the_known_one() -> None:
    """Tokens in the proportions of p: the estimate is KL(p || q) exactly, as Σ p (q/p − 1) is 0."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    tokens = np.repeat([0, 1, 2], [5, 3, 2])
    found = judge_logprobs(np.log(p)[tokens], statistics(np.log(q)[tokens]), 1.0, mixture=False)
    assert found.kl == pytest.approx(float((p * np.log(p / q)).sum()))


def test_mixtures_are_judged_by_kl_and_agreement() -> None:
    rng = np.random.default_rng(0)
    logged = np.full(1000, -0.2)
    noisy = logged + rng.normal(0, 0.12, 1000)
    assert judge_logprobs(logged, statistics(noisy), 1.0, mixture=True).verdict == "pass"
    assert judge_logprobs(logged, statistics(noisy), 1.0, mixture=False).verdict == "warn"
    assert judge_logprobs(logged, statistics(noisy, rng.random(1000) < 0.8), 1.0, mixture=True).verdict == "warn"
    assert judge_logprobs(logged, statistics(logged - 1), 1.0, mixture=True).verdict == "fail"


def test_a_huge_sample_with_a_tiny_excess_only_warns() -> None:
    tokens = 1_000_000
    found = judge_consistency(statistics(np.full(tokens, -1.01)), 1.0)
    assert isinstance(found, Fidelity)
    assert found.z == pytest.approx(10, rel=1e-6)
    assert found.verdict == "warn"


@pytest.mark.parametrize("truth", [0.2, 0.7, 1.0, 1.9])
def test_the_temperature_is_recovered(truth: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (200, 50))

    def logp_at(temperature: float) -> Any:
        scaled = logits / temperature
        return scaled[:, 0] - np.log(np.exp(scaled).sum(-1))

    assert fit_temperature(logp_at(truth), logp_at) == pytest.approx(truth, rel=1e-3)
