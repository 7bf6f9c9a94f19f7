"""Is this the model that wrote the log?

Takes a model with its head and calls, gives a verdict with the numbers behind it. Two ways: where the log has the
sampler's logprobs, they are recomputed and compared; where it has none, by self-consistency: tokens that were sampled
from a model satisfy E[−log p] = H(p) under it, token by token, while a stranger is surprised more often than its
entropy allows. Knows no workspace. The judgements at the top are pure; the model's part is below them.

Thresholds: dense models pass at mean |Δ log p| ≤ 0.02 and KL ≤ 0.01, warn up to 0.1. The routing noise of a mixture of
experts alone reaches 0.14–0.34, so those are judged by KL and by how often the token logged is the likeliest where
the sampler was sure of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ...store.errors import ModelError
from .calls import TokenCall, written_positions
from .load import LoadedModel

Numbers = NDArray[np.float64]

PASS_DELTA, PASS_KL, WARN_DELTA, MOE_AGREEMENT = 0.02, 0.01, 0.1, 0.9
PASS_Z, WARN_Z, SMALL_EXCESS = 3.0, 6.0, 0.02
GREEDY_PASS, GREEDY_WARN = 0.99, 0.95
FEWEST_TOKENS, MOST_CALLS, MOST_POSITIONS, FIT_TOKENS = 20, 200, 512, 256
_SURE: Final = math.log(0.5)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """``verdict`` is pass, warn, fail or unknown; ``method`` ``logged logprobs`` or ``self-consistency``.

    ``mean_abs_dlogp`` and ``kl`` (nats per token, sampler to model) belong to the first method, ``z`` to the second.
    ``temperature`` is the fitted one for the first, the one assumed for the second.
    """

    verdict: str
    method: str
    n_tokens: int
    mean_abs_dlogp: float | None
    kl: float | None
    z: float | None
    temperature: float | None
    note: str | None


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """Per token the model wrote (n,): its log p under the replaying model, the entropy of that distribution, the
    variance of log p under it, and whether the token is the likeliest one."""

    logp: Numbers
    entropy: Numbers
    variance: Numbers
    likeliest: NDArray[np.bool_]


def judge_logprobs(logged: Numbers, statistics: TokenStatistics, temperature: float, mixture: bool) -> Fidelity:
    """Compare the sampler's logprobs (n,) with those recomputed.

    KL is Schulman's k3 estimate, mean(r − 1 − log r) with r = model / sampler, which is never negative.
    """
    change = statistics.logp - logged
    delta, kl = float(np.abs(change).mean()), float(np.mean(np.expm1(np.clip(change, -50, 50)) - change))
    sure = logged >= _SURE
    agreement = float(statistics.likeliest[sure].mean()) if sure.any() else 1.0
    if mixture:
        verdict = "fail" if kl > WARN_DELTA else "pass" if kl <= PASS_KL and agreement >= MOE_AGREEMENT else "warn"
        note: str | None = f"A mixture of experts, judged by KL and top-1 agreement ({agreement:.2f})."
    else:
        verdict = "fail" if delta > WARN_DELTA else "pass" if delta <= PASS_DELTA and kl <= PASS_KL else "warn"
        note = None
    if verdict == "fail":
        note = "The model does not give the logged probabilities: its readings are a reader's, not the author's."
    return Fidelity(verdict, "logged logprobs", len(logged), delta, kl, None, temperature, note)


def judge_consistency(statistics: TokenStatistics, temperature: float) -> Fidelity:
    """z = (Σ −log p − Σ H) / √Σ Var: near 0 for the author, large and positive for a stranger.

    With many tokens the smallest numerical difference gives a large z, so an excess below 0.02 nats per token never
    fails. At temperature 0 there is nothing random: then the share of likeliest tokens is judged, and z is None.
    """
    n_tokens = len(statistics.logp)

    def made(verdict: str, z: float | None, note: str | None) -> Fidelity:
        return Fidelity(verdict, "self-consistency", n_tokens, None, None, z, temperature, note)

    if temperature == 0:
        agreement = float(statistics.likeliest.mean())
        verdict = "pass" if agreement >= GREEDY_PASS else "warn" if agreement >= GREEDY_WARN else "fail"
        return made(verdict, None, f"Greedy sampling: {agreement:.1%} of the tokens are the model's likeliest.")
    surplus = float((-statistics.logp - statistics.entropy).sum())
    z = surplus / math.sqrt(max(float(statistics.variance.sum()), 1e-12))
    if abs(z) <= PASS_Z:
        return made("pass", z, f"No logged logprobs; the text is as surprising as the model's own at {temperature:g}.")
    if z < 0:
        note = f"Less surprising than samples at temperature {temperature:g}: a lower one, top-p, or not sampled."
        return made("warn", z, note)
    if z <= WARN_Z or surplus / n_tokens <= SMALL_EXCESS:
        return made("warn", z, "The text is a little more surprising than the model's own samples.")
    return made(
        "fail", z, "The text surprises this model: another author, or hotter sampling; its readings are a reader's."
    )


def fit_temperature(logged: Numbers, logp_at: Callable[[float], Numbers]) -> float:
    """The temperature in [0.05, 5] whose logprobs are nearest to those logged, by mean square.

    A coarse grid, then golden sections around its best (precision 1e-4 in log temperature).
    """

    def loss(log_temperature: float) -> float:
        return float(np.mean((logp_at(math.exp(log_temperature)) - logged) ** 2))

    grid = np.linspace(math.log(0.05), math.log(5), 47)
    best = int(np.argmin([loss(float(point)) for point in grid]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        one, other = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, other) if loss(one) < loss(other) else (one, high)
    return math.exp((low + high) / 2)


def fidelity(loaded: LoadedModel, calls: Sequence[TokenCall], temperature: float | None = None) -> Fidelity:
    """Judge a model, loaded with its head, by what calls say it wrote; at most 200 of them, evenly chosen.

    ``temperature`` is the one the log names; 1 is assumed without. Logged logprobs are used where any call has them,
    and then the temperature is fitted, because samplers log them before scaling or after. Raises ModelError when the
    model has no head or not all its layers.
    """
    if not hasattr(loaded.model, "lm_head") and loaded.model.get_output_embeddings() is None:
        raise ModelError(f"{loaded.name} was loaded without its head; load it with head=True to check fidelity.")
    if int(loaded.model.config.get_text_config().num_hidden_layers) != loaded.n_layers:
        raise ModelError(f"{loaded.name} was loaded without its upper layers; load all of them to check fidelity.")
    with_logprobs = [call for call in calls if call.logprobs]
    chosen = _evenly([call for call in with_logprobs or calls if _positions(call)], MOST_CALLS)
    n_tokens = sum(len(_positions(call)) for call in chosen)
    if n_tokens < FEWEST_TOKENS:
        method = "logged logprobs" if with_logprobs else "self-consistency"
        note = f"Only {n_tokens} tokens that the model wrote; {FEWEST_TOKENS} are needed."
        return Fidelity("unknown", method, n_tokens, None, None, None, temperature, note)
    if not with_logprobs:
        assumed = 1.0 if temperature is None else temperature
        return judge_consistency(_statistics(loaded, chosen, assumed or 1.0), assumed)
    logged = np.concatenate([_logged(call) for call in chosen])
    fitted = _fit(loaded, chosen)
    return judge_logprobs(logged, _statistics(loaded, chosen, fitted), fitted, _is_mixture(loaded))


def _positions(call: TokenCall) -> list[int]:
    """Tokens to judge: written by the model, and not the first of a sequence, which nothing predicts."""
    positions = range(call.n_prompt, len(call.ids)) if call.logprobs else written_positions(call)
    return [position for position in positions if position > 0][:MOST_POSITIONS]


def _logged(call: TokenCall) -> Numbers:
    values = call.logprobs or []
    return np.array([values[position - call.n_prompt] for position in _positions(call)])


def _evenly(calls: Sequence[TokenCall], n: int) -> list[TokenCall]:
    if len(calls) <= n:
        return list(calls)
    return [calls[round(index)] for index in np.linspace(0, len(calls) - 1, n)]


def _logits(loaded: LoadedModel, call: TokenCall) -> tuple[torch.Tensor, torch.Tensor]:
    """``(n, vocabulary)`` float32 logits before each position judged, and the ids ``(n,)`` that came."""
    positions = torch.tensor(_positions(call), device=loaded.device)
    ids = torch.tensor([call.ids], device=loaded.device)
    with torch.inference_mode():
        # The positions to keep, so that no logits are computed for a long prompt.
        output = loaded.model(input_ids=ids, use_cache=False, logits_to_keep=positions - 1)
        return output.logits[0].float(), ids[0, positions]


def _fit(loaded: LoadedModel, calls: Sequence[TokenCall]) -> float:
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    values: list[Numbers] = []
    n_tokens = 0
    for call in calls:
        room = FIT_TOKENS - n_tokens
        if room <= 0:
            break
        logits, ids = _logits(loaded, call)
        kept.append((logits[:room], ids[:room]))
        values.append(_logged(call)[:room])
        n_tokens += len(values[-1])

    def logp_at(temperature: float) -> Numbers:
        return np.concatenate([_logp(logits / temperature, ids)[1] for logits, ids in kept])

    return fit_temperature(np.concatenate(values), logp_at)


def _logp(logits: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, Numbers]:
    """Log probabilities ``(n, vocabulary)``, and those of ``ids``."""
    logp = logits.log_softmax(-1)
    return logp, logp.gather(-1, ids[:, None])[:, 0].cpu().double().numpy()


def _statistics(loaded: LoadedModel, calls: Sequence[TokenCall], temperature: float) -> TokenStatistics:
    rows: list[list[Any]] = [[], [], [], []]
    for call in calls:
        logits, ids = _logits(loaded, call)
        logp, own = _logp(logits / temperature, ids)
        p = logp.exp()
        surprise = torch.where(p > 0, -logp, 0.0)
        entropy = (p * surprise).sum(-1)
        variance = (p * (surprise - entropy[:, None]) ** 2).sum(-1)
        likeliest = logits.argmax(-1) == ids
        found = own, entropy.cpu().double().numpy(), variance.cpu().double().numpy(), likeliest.cpu().numpy()
        for row, numbers in zip(rows, found, strict=True):
            row.append(numbers)
    return TokenStatistics(*(np.concatenate(row) for row in rows))


def _is_mixture(loaded: LoadedModel) -> bool:
    config = loaded.model.config.get_text_config()
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return any((getattr(config, name, None) or 0) > 1 for name in names)
