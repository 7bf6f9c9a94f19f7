"""Which characters of which part stand where in a text, and which tokens cover them.

Takes texts, token ids and the parts to find; gives places and token ranges. Everything it gives is verified: what
cannot be found in exactly one way is named instead. Knows no episodes and no models.

Two ways to find parts. In a template's rendering, by *differential rendering*: render again with a unique sentinel in
place of each part; what surrounds the sentinels must stand in the real rendering, with the parts' own text between. In
any other text, in order: leftmost and rightmost placement of all parts in their order must agree on a part's place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from .render import Key

_TORN: Final = re.compile("[\udc80-\udcff]")
_LONGEST_WAIT: Final = 4
"""Tokens that one character can be spread over: UTF-8 has four bytes at most."""


@dataclass(frozen=True, slots=True)
class Field:
    """A part to find. ``form`` is how the sentinel in its stead is rendered."""

    key: Key
    text: str
    sentinel: str
    form: str


@dataclass(frozen=True, slots=True)
class Place:
    """Characters ``[start, end)`` of a part, which begin at ``text_start`` of the text they were found in."""

    key: Key
    start: int
    end: int
    text_start: int


@dataclass(slots=True)
class Found:
    """What was found; ``absent`` parts are not in the text at all, ``lost`` ones could not be verified."""

    places: list[Place] = field(default_factory=list)
    absent: list[Key] = field(default_factory=list)
    lost: list[Key] = field(default_factory=list)


def sentinels(texts: Sequence[str]) -> Iterator[str]:
    """Strings without end that occur in none of the texts; letters and digits, which no template touches."""
    stem = next(stem for stem in (f"Qz{n}x" for n in range(10**9)) if not any(stem in text for text in texts))
    return (f"{stem}{index}zQ" for index in range(10**9))


def find_in_rendering(render: Callable[[Mapping[Key, str]], str], rendered: str, fields: Sequence[Field]) -> Found:
    """Find fields in ``rendered``, which is ``render({})``, by differential rendering."""
    found = Found()
    marked = render({item.key: item.sentinel for item in fields})
    shown = [item for item in fields if item.form in marked]
    found.absent = [item.key for item in fields if item.form not in marked]
    shown.sort(key=lambda item: marked.index(item.form))
    places = _walk(rendered, marked, shown)
    if places is None:  # A sentinel changed what the template does, so that each is tried by itself.
        places = [_find_alone(render({item.key: item.sentinel}), rendered, item) for item in shown]
    found.places = [place for place in places if place is not None]
    placed = {place.key for place in found.places}
    found.lost = [item.key for item in shown if item.key not in placed]
    return found


def _walk(rendered: str, marked: str, shown: Sequence[Field]) -> list[Place | None] | None:
    """Go through both renderings side by side; None when they do not match. A re-serialised call has no place."""
    places: list[Place | None] = []
    literals = []
    rest = marked
    for item in shown:
        literal, _, rest = rest.partition(item.form)
        literals.append(literal)
    literals.append(rest)
    if not rendered.startswith(literals[0]):
        return None
    position = len(literals[0])
    for item, after in zip(shown, literals[1:], strict=True):
        for start, end in _trimmings(item.text):
            if rendered.startswith(item.text[start:end] + after, position):
                places.append(Place(item.key, start, end, position))
                position += end - start + len(after)
                break
        else:
            again = _serialised(item)
            if again is None or not rendered.startswith(again + after, position):
                return None
            places.append(None)
            position += len(again) + len(after)
    return places if position == len(rendered) else None


def _find_alone(marked: str, rendered: str, item: Field) -> Place | None:
    before, form, after = marked.partition(item.form)
    if not form or not rendered.startswith(before) or not rendered.endswith(after):
        return None
    middle = rendered[len(before) : len(rendered) - len(after)]
    for start, end in _trimmings(item.text):
        if item.text[start:end] == middle:
            return Place(item.key, start, end, len(before))
    return None


def _serialised(item: Field) -> str | None:
    """A tool call's arguments as a template's ``tojson`` writes them."""
    if item.form == item.sentinel:
        return None
    return json.dumps(json.loads(item.text), ensure_ascii=False)


def _trimmings(text: str) -> list[tuple[int, int]]:
    """What templates leave of a text, longest first: all of it, without outer newlines, without outer whitespace."""
    starts = {0, len(text) - len(text.lstrip("\n")), len(text) - len(text.lstrip())}
    ends = {len(text), len(text.rstrip("\n")), len(text.rstrip())}
    return sorted(((s, e) for s in starts for e in ends if s < e), key=lambda pair: pair[0] - pair[1])


def find_in_order(text: str, fields: Sequence[Field], low: int, high: int) -> Found:
    """Find fields, which follow one another, in ``text[low:high]``; a part that could stand in two places is lost."""
    found = Found()
    first: dict[Key, tuple[int, int, int]] = {}
    cursor = low
    for item in fields:
        for start, end in (_trimmings(item.text)[0], _trimmings(item.text)[-1]):
            position = text.find(item.text[start:end], cursor, high)
            if position >= 0:
                first[item.key] = (start, end, position)
                cursor = position + end - start
                break
        else:
            found.absent.append(item.key)
    cursor = high
    for item in reversed([item for item in fields if item.key in first]):
        start, end, position = first[item.key]
        last = text.rfind(item.text[start:end], low, cursor)
        cursor = last if last >= 0 else cursor
        if last == position:
            found.places.append(Place(item.key, start, end, position))
        else:
            found.lost.append(item.key)
    found.places.reverse()
    found.lost.reverse()
    return found


def encode(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a text that already has its special tokens, and each one's characters ``[start, end)``.

    Ranges follow one another without gaps: whitespace that a tokenizer leaves out of its offsets goes to the token
    after it. Tokens of one character share its range.
    """
    if not tokenizer.is_fast:
        ids = list(tokenizer.encode(text, add_special_tokens=False))
        decoded, offsets = token_offsets(tokenizer, ids)
        return ids, offsets if decoded == text else [(0, 0)] * len(ids)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets, reached = [], 0
    for start, end in encoded["offset_mapping"]:
        start = min(start, reached)
        end = max(end, start)
        offsets.append((start, end))
        reached = max(reached, end)
    return list(encoded["input_ids"]), offsets


def token_offsets(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """The decoded text, special tokens kept, and each token's characters ``[start, end)`` in it.

    Linear in the number of tokens. Tokens that hold parts of one character share its range. A space that decoding puts
    between two tokens belongs to the second.
    """
    ids = list(ids)
    if (exact := _byte_offsets(tokenizer, ids)) is not None:
        return exact
    pieces: list[str] = []
    offsets: list[tuple[int, int]] = []
    done = reached = 0
    previous: list[int] = []
    for index in range(len(ids)):
        known = _decode(tokenizer, previous) if previous else ""
        piece = _decode(tokenizer, previous + ids[done : index + 1])[len(known) :]
        # Until its last byte is there, a character is shown as U+FFFD.
        if piece.endswith("\ufffd") and index + 1 - done < _LONGEST_WAIT and index + 1 < len(ids):
            continue
        offsets += [(reached, reached + len(piece))] * (index + 1 - done)
        pieces.append(piece)
        reached += len(piece)
        previous, done = ids[done : index + 1], index + 1
    return "".join(pieces), offsets


def _byte_offsets(tokenizer: Any, ids: list[int]) -> tuple[str, list[tuple[int, int]]] | None:
    """The same for byte-level BPE, exactly, from each token's bytes; None for other tokenizers."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or "ByteLevel" not in str(getattr(backend, "decoder", "")):
        return None
    to_byte = _byte_alphabet()
    tokens = tokenizer.convert_ids_to_tokens(ids)
    if any(token is None for token in tokens):
        return None
    raw = [
        bytes(to_byte[char] for char in token) if all(char in to_byte for char in token) else token.encode()
        for token in tokens
    ]
    joined = b"".join(raw)
    if joined.decode("utf-8", "replace") != _decode(tokenizer, ids):
        return None
    # A byte that belongs to no character becomes a surrogate: one byte, one character.
    escaped = joined.decode("utf-8", "surrogateescape")
    first = [i for i, char in enumerate(escaped) for _ in char.encode("utf-8", "surrogateescape")]
    offsets, position, reached = [], 0, 0
    for piece in raw:
        if piece:
            reached = first[position + len(piece) - 1] + 1
            offsets.append((first[position], reached))
        else:
            offsets.append((reached, reached))
        position += len(piece)
    return _TORN.sub("\ufffd", escaped), offsets


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """Characters that stand for bytes in byte-level BPE, as GPT-2 has them: printable ones for themselves, the others
    shifted to 256 and up in order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
