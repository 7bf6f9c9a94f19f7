"""The dataclasses and the stored tables have the same fields; a part holds what Arrow can hold."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st
from investigate.store.schemas import CALLS, EPISODES, PARTS, SKIPPED
from investigate.store.types import Call, Episode, Message, Part, Skipped


def _names(*types: type) -> set[str]:
    return {field.name for kind in types for field in fields(kind)}


def test_fields_are_columns() -> None:
    keys = {"episode_id", "revision"}
    assert _names(Episode) - {"messages", "calls", "duplicate_of"} == set(EPISODES.names)
    assert _names(Part, Message) - {"parts"} | keys | {"message_index", "part_index"} == set(PARTS.names)
    assert _names(Call) | keys == set(CALLS.names)
    assert _names(Skipped) == set(SKIPPED.names)


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_lone_surrogates_are_replaced_one_for_one(text: str) -> None:
    part = Part("text", text)
    part.text.encode()
    assert len(part.text) == len(text)
    assert part.n_replaced == sum("\ud800" <= character <= "\udfff" for character in text)
