"""An episode as the calls that were made to the model: token ids, and which of them are which part.

Takes an episode and a tokenizer, gives one ``TokenCall`` per assistant message that the model wrote on the main line.
Tokens come from the best source there is: logged ids as they are, logged raw strings, else the chat template. Knows no
weights. Why calls and not one rendered chat: templates drop the reasoning of earlier turns, so what the model saw at
one turn is no prefix of what it saw at the next.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...store.errors import ModelError
from ...store.types import Call, Episode
from .align import Found, encode, find_in_order, token_offsets
from .drafts import Draft, chains_of, draft_of, fields_of, find_in_draft, shared_prefix
from .render import Numbered, Renderer, left_out


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """The tokens ``[first_token, last_token_exclusive)`` that cover characters ``[start, end)`` of one part, which
    stand at ``text_start`` of the call's text. ``written``: did the model write it, in an assistant's message
    that was not given?

    A token that straddles two parts belongs to the later one.
    """

    message_index: int
    part_index: int
    kind: str
    role: str
    start: int
    end: int
    first_token: int
    last_token_exclusive: int
    text_start: int
    written: bool


@dataclass(frozen=True, slots=True)
class TokenCall:
    """What the model saw and wrote in one call. ``call_index`` counts the calls of the list it is in.

    ``text`` is what ``ids`` stand for, special tokens included, and ``offsets`` each token's characters in it. The
    first ``n_prompt`` tokens are the prompt of the message it ``completes`` (None: of none); calls through the template
    that begin with one another are one call, so that tokens of earlier turns in its prompt can be ``written`` too.
    ``logprobs`` belong to the tokens after the prompt. ``aligned``: every part that should be there has a verified
    span; ``note`` says which has not, and what was left out.
    """

    call_index: int
    ids: list[int]
    spans: list[TokenSpan]
    token_source: str
    n_prompt: int
    logprobs: list[float] | None
    text: str
    offsets: list[tuple[int, int]]
    aligned: bool
    note: str | None
    completes: int | None = None


def episode_calls(episode: Episode, tokenizer: Any) -> list[TokenCall]:
    """The calls of an episode's main line, in order. Branches are left out, and so are calls that wrote on them.

    An episode in which the model wrote nothing gives one call, all prompt. Raises ModelError where tokens must come
    from a template that there is not, or that refuses the messages.
    """
    main = [(index, message) for index, message in enumerate(episode.messages) if message.branch is None]
    written = [index for index, message in main if message.role == "assistant" and not message.given]
    logged, stray = _logged_calls(episode.calls, written)
    renderer = Renderer(tokenizer)
    drafts: list[Draft] = []
    calls: list[tuple[int, TokenCall]] = []
    for index in written:
        messages = tuple(item for item in main if item[0] <= index)
        if index in logged:
            calls.append((index, _logged_call(renderer, messages, logged[index])))
        else:
            drafts.append(draft_of(renderer, messages))
    if main and not written and not stray:
        text = renderer.render(main, {})
        drafts.append(Draft(tuple(main), text, text))
    for chain in chains_of(drafts):
        calls += _chain_calls(renderer, chain)
    calls += [(len(episode.messages), _logged_call(renderer, (), call)) for call in stray]
    calls.sort(key=lambda pair: pair[0])
    return [
        replace(call, call_index=number, completes=index if index in written else None)
        for number, (index, call) in enumerate(calls)
    ]


def part_offsets(call: TokenCall, span: TokenSpan) -> list[tuple[int, int]]:
    """For each token of a span, its characters ``[start, end)`` of the part, cut to the span."""
    shift = span.start - span.text_start
    inside = call.offsets[span.first_token : span.last_token_exclusive]
    return [(max(first + shift, span.start), min(last + shift, span.end)) for first, last in inside]


def written_positions(call: TokenCall) -> list[int]:
    """Positions of the tokens that the model wrote: the completion, and for template calls all spans it wrote."""
    if call.token_source != "template":
        return list(range(call.n_prompt, len(call.ids)))
    spans = [span for span in call.spans if span.written]
    return [position for span in spans for position in range(span.first_token, span.last_token_exclusive)]


def _logged_calls(calls: Sequence[Call], written: Sequence[int]) -> tuple[dict[int, Call], list[Call]]:
    """Calls with tokens or raw text by the message they wrote, and those of which the log does not say."""
    usable = [call for call in calls if call.completion_ids or call.completion_text]
    stray = [call for call in usable if call.message_index is None]
    placed = {call.message_index: call for call in usable if call.message_index in written}
    if not placed and len(stray) == len(written):
        return dict(zip(written, stray, strict=True)), []
    return {index: call for index, call in placed.items() if index is not None}, stray


def _logged_call(renderer: Renderer, messages: tuple[Numbered, ...], call: Call) -> TokenCall:
    """A call whose completion was logged as ids or as raw text; its prompt too, or else as the template has it."""
    notes = [] if messages else ["The log does not say which message this call wrote."]
    source = "ids" if call.completion_ids else "raw"
    if call.prompt_ids is not None:
        prompt_ids = list(call.prompt_ids)
        prompt, prompt_offsets = token_offsets(renderer.tokenizer, prompt_ids)
    else:
        prompt = call.prompt_text or ""
        if call.prompt_text is None:
            prompt = renderer.render(messages[:-1], {}, generation_prompt=True)
            notes.append("The log has no prompt tokens: the prompt is the template's.")
        prompt_ids, prompt_offsets = encode(renderer.tokenizer, prompt)
    if source == "ids":
        ids = [*prompt_ids, *(call.completion_ids or ())]
        text, offsets = token_offsets(renderer.tokenizer, ids)
        middle = offsets[len(prompt_ids) - 1][1] if prompt_ids else 0
    else:
        completion_ids, more = encode(renderer.tokenizer, call.completion_text or "")
        ids, text, middle = prompt_ids + completion_ids, prompt + (call.completion_text or ""), len(prompt)
        offsets = prompt_offsets + [(start + middle, end + middle) for start, end in more]
    found = _find_logged(renderer, messages, text, middle) if messages else Found()
    logprobs = list(call.logprobs) if call.logprobs and len(call.logprobs) == len(ids) - len(prompt_ids) else None
    made = TokenCall(0, ids, [], source, len(prompt_ids), logprobs, text, offsets, bool(messages), None)
    return _with_spans(made, messages, found, notes)


def _find_logged(renderer: Renderer, messages: tuple[Numbered, ...], text: str, middle: int) -> Found:
    """By differential rendering where the template gives this very text, else in order."""
    try:
        draft = draft_of(renderer, messages)
    except ModelError:  # There is no template, or it refuses what the log has tokens for.
        draft = None
    if draft is not None and draft.text.startswith(text):
        return find_in_draft(renderer, draft)
    fields = fields_of(renderer, messages, text)
    last = messages[-1][0]
    before = find_in_order(text, [item for item in fields if item.key[0] != last], 0, middle)
    after = find_in_order(text, [item for item in fields if item.key[0] == last], middle, len(text))
    return Found(before.places + after.places, before.absent + after.absent, before.lost + after.lost)


def _chain_calls(renderer: Renderer, chain: Sequence[Draft]) -> list[tuple[int, TokenCall]]:
    """One call for the last draft of a chain, which contains the others; of their own those that end inside a token."""
    draft = chain[-1]
    ids, offsets = encode(renderer.tokenizer, draft.text)
    ends = [end for _, end in offsets]
    borders = set(ends)
    calls = [
        call for earlier in chain[:-1] if len(earlier.text) not in borders for call in _chain_calls(renderer, [earlier])
    ]
    notes = left_out(draft.messages)
    shared = shared_prefix(draft.prompt, draft.text)
    if shared < len(draft.prompt):
        notes.append("The template writes the last answer otherwise than its prompt begins it.")
    special = renderer.tokenizer.all_special_tokens
    if any(token in part.text for _, message in draft.messages for part in message.parts for token in special):
        notes.append("The text contains control tokens, which are read as such.")
    made = TokenCall(
        0,
        ids,
        [],
        "template",
        bisect_right(ends, shared),
        None,
        draft.text,
        offsets,
        ends[-1:] == [len(draft.text)],
        None,
    )
    call = _with_spans(made, draft.messages, find_in_draft(renderer, draft), notes)
    return [*calls, (draft.messages[-1][0], call)]


def _with_spans(made: TokenCall, messages: Sequence[Numbered], found: Found, notes: list[str]) -> TokenCall:
    """The call with a span for every part that was found and has tokens, and a note on the parts that should have."""
    by_index = dict(messages)
    starts, ends = [start for start, _ in made.offsets], [end for _, end in made.offsets]
    spans: list[TokenSpan] = []
    for place in sorted(found.places, key=lambda place: place.text_start):
        message = by_index[place.key[0]]
        stop = place.text_start + place.end - place.start
        first, last = bisect_right(ends, place.text_start), bisect_left(starts, stop)
        if spans and spans[-1].last_token_exclusive > first:
            spans[-1] = replace(spans[-1], last_token_exclusive=first)
        written = message.role == "assistant" and not message.given
        kind = message.parts[place.key[1]].kind
        at = place.start, place.end, first, last, place.text_start
        spans.append(TokenSpan(*place.key, kind, message.role, *at, written))
    whole = [
        span
        for span in spans
        if span.first_token < span.last_token_exclusive and span.text_start + span.end - span.start <= len(made.text)
    ]
    have = {(span.message_index, span.part_index) for span in whole}
    last_index = messages[-1][0] if messages else -1
    expected = [*(place.key for place in found.places), *found.lost, *found.absent]
    # Templates drop the reasoning of earlier turns: what was not in the prompt is not missing from it.
    dropped = {
        key for key in found.absent if key[0] != last_index and by_index[key[0]].parts[key[1]].kind == "reasoning"
    }
    missing = sorted(set(expected) - have - dropped)
    if missing:
        names = ", ".join(f"{index}.{number} ({by_index[index].parts[number].kind})" for index, number in missing)
        notes = [*notes, f"Not aligned: {names}."]
    return replace(made, spans=whole, aligned=made.aligned and not missing, note=" ".join(notes) or None)
