"""Which tokens are read: exactly those that hold the characters asked for."""

from typing import Any

import pytest
from investigate.analysis.model.calls import episode_calls
from investigate.analysis.model.reading import places_of, read_tokens
from investigate.store.errors import UsageError
from investigate.store.types import Episode, Message, Part

MESSAGES = (
    Message("user", (Part("text", "What is the capital of France?"),)),
    Message(
        "assistant",
        (
            Part("reasoning", "Let me think: Paris.", reasoning_kind="raw", location="reasoning_content"),
            Part("text", "Paris is the capital. Paris it is."),
        ),
    ),
)


@pytest.fixture
def episode() -> Episode:
    return Episode("s", "0", "d", messages=MESSAGES, episode_id=1)


def _text(call: Any, positions: set[int]) -> str:
    spans = [call.offsets[position] for position in sorted(positions)]
    return "".join(call.text[start:end] for start, end in spans)


def test_masks(tiny_tokenizer: Any, episode: Episode) -> None:
    (call,) = episode_calls(episode, tiny_tokenizer)
    said = {mask: _text(call, read_tokens(call, episode, at=None, mask=mask)[0]) for mask in ("assistant", "reasoning")}
    assert "Let me think: Paris." in said["reasoning"]
    assert "capital" not in said["reasoning"]
    assert "Let me think: Paris." in said["assistant"]
    assert "Paris is the capital. Paris it is." in said["assistant"]
    everything, _ = read_tokens(call, episode, at=None, mask="all")
    assert "What is the capital of France?" in _text(call, everything)
    assert 0 not in everything
    assert read_tokens(call, episode, at=None, mask="last")[0] == {call.n_prompt - 1}


def test_a_pattern_is_read_at_the_token_of_its_last_character(tiny_tokenizer: Any, episode: Episode) -> None:
    (call,) = episode_calls(episode, tiny_tokenizer)
    (position,), why = read_tokens(call, episode, at=r"capital", mask="assistant")
    assert why is None
    start, end = call.offsets[position]
    place = call.text.index("capital", call.text.index("Paris is")) + len("capital") - 1
    assert start <= place < end
    # The user's "capital" is not the model's.
    assert position > call.n_prompt


def test_nothing_matched_is_said(tiny_tokenizer: Any, episode: Episode) -> None:
    (call,) = episode_calls(episode, tiny_tokenizer)
    positions, why = read_tokens(call, episode, at="zebra", mask="assistant")
    assert positions == set()
    assert "zebra" in str(why)


def test_given_messages_are_not_read(tiny_tokenizer: Any) -> None:
    messages = (MESSAGES[0], Message("assistant", (Part("text", "Given."),), given=True), *MESSAGES)
    episode = Episode("s", "0", "d", messages=messages)
    calls = episode_calls(episode, tiny_tokenizer)
    for call in calls:
        assert "Given" not in _text(call, read_tokens(call, episode, at=None, mask="assistant")[0])


def test_places_are_the_characters_of_the_parts(tiny_tokenizer: Any, episode: Episode) -> None:
    (call,) = episode_calls(episode, tiny_tokenizer)
    for (message_index, part_index), places in places_of(call).items():
        text = episode.messages[message_index].parts[part_index].text
        assert "".join(text[place.start : place.end] for place in places) == text


def test_bad_requests(tiny_tokenizer: Any, episode: Episode) -> None:
    (call,) = episode_calls(episode, tiny_tokenizer)
    with pytest.raises(UsageError, match="no mask"):
        read_tokens(call, episode, at=None, mask="everything")
    with pytest.raises(UsageError, match="regular expression"):
        read_tokens(call, episode, at="(", mask="assistant")
