"""Places as they are typed."""

from __future__ import annotations

import pytest
from investigate.analysis.text.places import Place, parse_place, place_of, text_at
from investigate.store.errors import InputError, NotFoundError
from investigate.store.types import Span


@pytest.mark.parametrize(
    ("typed", "place"),
    [
        ("12@3.4", Place("12", 3, 4, None, None)),
        (" 12@3.4 ", Place("12", 3, 4, None, None)),
        ("1627@2.0 [38, 187)", Place("1627", 2, 0, 38, 187)),
        ("1627@2.0[38:187]", Place("1627", 2, 0, 38, 187)),
        ("logs/a@b.jsonl#7@2.0", Place("logs/a@b.jsonl#7", 2, 0, None, None)),
        ("12", None),
        ("12@3", None),
        ("12@3.4 [5]", None),
        ("12@3.4 [5, 6) and more", None),
        ("logs/a@b.jsonl#7", None),
    ],
)
def test_places_are_read(typed: str, place: Place | None) -> None:
    assert parse_place(typed) == place


def test_what_stands_there() -> None:
    part = {"text": "a red apple"}
    assert text_at(place_of(Span(7, 1, 0, 2, 5)), part) == "red"
    assert text_at(Place("7", 1, 0, None, None), part) == "a red apple"
    with pytest.raises(NotFoundError, match=r"no part 7@1\.0"):
        text_at(Place("7", 1, 0, None, None), None)
    with pytest.raises(InputError, match=r"7@1\.0 \[50, 60\); it has 11 characters"):
        text_at(Place("7", 1, 0, 50, 60), part)
    with pytest.raises(InputError, match=r"no text at 7@1\.0; it has 1 characters"):
        text_at(Place("7", 1, 0, None, None), {"text": " "})
