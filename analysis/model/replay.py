"""Replay: stored episodes through a model, token by token, and what a probe reads there.

Takes episodes, a model and a probe; gives readings: a score per token and per span, where the tokens came from, and
whether this is the model that wrote them. Knows the workspace only for storing a run; knows no screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch

from ...store.errors import InputError
from ...store.schemas import SPAN_SCORES, TOKEN_SCORES
from ...store.types import Episode
from .calls import TokenCall, episode_calls
from .capture import capture
from .fidelity import Fidelity, fidelity
from .load import LoadedModel
from .probe import Probe
from .reading import TokenPlace, places_of, read_tokens
from .render import Key
from .report_card import text_baseline_of

EPISODES_AT_ONCE: Final = 64
"""Enough for full packs of short episodes, few enough that the first readings come soon."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token, the characters ``[start, end)`` of a part that it stands for, and its score. ``read``: does it count?

    A token between the parts, such as the last one of a prompt, has no part; it is here only where it is read.
    """

    call_index: int
    position: int
    token_id: int
    message_index: int | None
    part_index: int | None
    start: int
    end: int
    score: float
    read: bool


@dataclass(frozen=True, slots=True)
class SpanScore:
    """A part as the probe sees it. ``mean``, ``max`` and ``last`` are over the tokens read where any of the part's
    are, over all of its tokens otherwise; ``n_read`` says how many were."""

    call_index: int
    message_index: int
    part_index: int
    kind: str
    role: str
    start: int
    end: int
    n_tokens: int
    n_read: int
    mean: float
    max: float
    last: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One episode, read. ``score`` is the mean over the tokens read, NaN when none was."""

    episode: Episode
    probe: str
    layer: int
    token_source: str
    score: float
    n_read: int
    tokens: tuple[TokenScore, ...]
    spans: tuple[SpanScore, ...]
    notes: tuple[str, ...] = ()
    fidelity: dict[str, Any] = field(default_factory=dict)


def replay(
    loaded: LoadedModel,
    episodes: Iterable[Episode],
    probe: Probe,
    *,
    at: str | None,
    mask: str,
    token_budget: int = 4096,
) -> Iterator[Reading]:
    """Read every episode with the probe, in order.

    ``at`` is a regex in what the assistant wrote: the token at the end of its first match in each assistant message is
    read. Without it, all tokens of ``mask`` (``all``, ``assistant``, ``reasoning`` or ``last``) are. Raises InputError
    when an episode has no tokens that can be read; where a restriction cannot be verified it is refused, not guessed.
    """
    waiting = iter(episodes)
    while some := list(islice(waiting, EPISODES_AT_ONCE)):
        calls = [episode_calls(episode, loaded.tokenizer) for episode in some]
        for episode, own in zip(some, calls, strict=True):
            if not own:
                raise InputError(f"Episode {episode.episode_id} has no text to replay; choose another.")
        scores = iter(score_calls(loaded, [call for own in calls for call in own], probe, token_budget))
        for episode, own in zip(some, calls, strict=True):
            yield _reading(episode, own, list(islice(scores, len(own))), probe, at, mask)


def score_calls(
    loaded: LoadedModel, calls: Sequence[TokenCall], probe: Probe, token_budget: int
) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Per call, the score of every token (n_tokens,)."""
    readout = {probe.layer: (torch.from_numpy(probe.w)[:, None], torch.tensor([probe.b]))}
    scores: list[Any] = [None] * len(calls)
    sequences = [list(call.ids) for call in calls]
    for captured in capture(loaded, sequences, [probe.layer], token_budget=token_budget, readout=readout):
        scores[captured.index] = captured.activations[probe.layer][:, 0].numpy()
    return scores


def _reading(
    episode: Episode, calls: Sequence[TokenCall], scores: Sequence[Any], probe: Probe, at: str | None, mask: str
) -> Reading:
    tokens: list[TokenScore] = []
    spans: list[SpanScore] = []
    notes: list[str] = []
    shown: set[Key] = set()
    refused: list[str] = []
    for call, values in zip(calls, scores, strict=True):
        read, why = read_tokens(call, episode, at=at, mask=mask)
        notes += [call.note] if call.note else []
        refused += [why] if why else []
        placed = places_of(call)
        between = read - {place.position for places in placed.values() for place in places}
        tokens += [
            TokenScore(call.call_index, position, call.ids[position], None, None, 0, 0, float(values[position]), True)
            for position in sorted(between)
        ]
        for part, places in placed.items():
            if part in shown:
                continue  # Later calls hold earlier messages again; the first that holds one is the one that wrote it.
            shown.add(part)
            tokens += [_token(call, part, place, values, read) for place in places]
            spans.append(_span(call, part, places, values, read, episode))
    chosen = [token.score for token in tokens if token.read]
    notes += [] if chosen else refused
    notes += _notes(probe, at, mask, tokens)
    score = float(np.mean(chosen)) if chosen else float("nan")
    sources = "+".join(dict.fromkeys(call.token_source for call in calls))
    said = tuple(dict.fromkeys(notes))
    return Reading(episode, probe.concept, probe.layer, sources, score, len(chosen), tuple(tokens), tuple(spans), said)


def _token(call: TokenCall, part: Key, place: TokenPlace, values: Any, read: set[int]) -> TokenScore:
    position = place.position
    score = float(values[position])
    return TokenScore(
        call.call_index, position, call.ids[position], *part, place.start, place.end, score, position in read
    )


def _span(
    call: TokenCall, part: Key, places: Sequence[TokenPlace], values: Any, read: set[int], episode: Episode
) -> SpanScore:
    own = [place.position for place in places if place.position in read]
    # The first token of a sequence carries a massive activation that says nothing of the text; it is never pooled.
    pooled = own or [place.position for place in places if place.position > 0] or [places[0].position]
    chosen = values[pooled]
    message = episode.messages[part[0]]
    return SpanScore(
        call.call_index, *part, message.parts[part[1]].kind, message.role, places[0].start, places[-1].end,
        len(places), len(own), float(chosen.mean()), float(chosen.max()), float(chosen[-1]),
    )  # fmt: skip


def _notes(probe: Probe, at: str | None, mask: str, tokens: Sequence[TokenScore]) -> list[str]:
    """What a reader of the numbers must know."""
    notes = []
    read = [token for token in tokens if token.read]
    if (at, mask) != (probe.read, probe.mask):
        trained = f"at {probe.read}" if probe.read else f"over {probe.mask} tokens"
        notes.append(f"The probe was trained {trained}; what it reads elsewhere has not been measured.")
    card = probe.card
    if read and card.get("text_baseline_whole", 0) >= card.get("auroc", 1) - 0.02:
        later = [
            token
            for token in tokens
            if token.position > read[-1].position and token.message_index == read[-1].message_index
        ]
        where = "After the token read" if later else "Over the whole text"
        notes.append(
            f"{where} the text suffices: on the recipe's held-out groups a bag of words of the whole text reaches "
            f"AUROC {card['text_baseline_whole']:.2f}, of the text so far {text_baseline_of(card):.2f}, "
            f"the probe {card['auroc']:.2f}."
        )
    return notes


def as_tables(readings: Sequence[Reading]) -> dict[str, pa.Table]:
    """The rows that a run stores, without their ``run_id``."""
    token_rows: list[dict[str, Any]] = []
    span_rows: list[dict[str, Any]] = []
    for reading in readings:
        common = {"episode_id": reading.episode.episode_id, "uid": reading.episode.uid, "probe": reading.probe}
        for token in reading.tokens:
            own = {name: getattr(token, name) for name in TokenScore.__slots__}
            token_rows.append(common | {"layer": reading.layer} | own)
        for span in reading.spans:
            span_rows.append(common | {name: getattr(span, name) for name in SpanScore.__slots__ if name != "n_read"})
    schemas = {"token_scores": (TOKEN_SCORES, token_rows), "span_scores": (SPAN_SCORES, span_rows)}
    return {
        name: pa.Table.from_pylist(rows, pa.schema([column for column in schema if column.name != "run_id"]))
        for name, (schema, rows) in schemas.items()
    }


def check_fidelity(loaded: LoadedModel, episodes: Sequence[Episode]) -> Fidelity:
    """Is this the model that wrote these episodes? Needs the model with its head.

    The temperature is the logged one where all calls agree on it; where the log has logprobs it is fitted anyway.
    """
    calls = [call for episode in episodes for call in episode_calls(episode, loaded.tokenizer)]
    logged = {call.sampling.get("temperature") for episode in episodes for call in episode.calls}
    (temperature,) = logged if len(logged) == 1 else (None,)
    return fidelity(loaded, calls, temperature if isinstance(temperature, int | float) else None)
