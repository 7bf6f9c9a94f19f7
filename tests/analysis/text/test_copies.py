"""How often a text is logged: exactly this text, of what is searched, and never more than there is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from investigate.analysis.text.copies import MOST_COPIES, Copies, count_copies
from investigate.analysis.text.index import Filters, TextIndex, update_text_index
from investigate.store.workspace import Workspace
from investigate.store.writer import open_writer

Store = Callable[..., None]
LONG = " ".join(f"word{n} of a long text" for n in range(60))


def opened(workspace: Workspace) -> TextIndex:
    with open_writer(workspace) as writer:
        assert list(update_text_index(writer))
    return TextIndex(workspace)


def count(index: TextIndex, text: str, filters: Filters, retired: set[tuple[int, int]]) -> Copies:
    (copies,) = count_copies(index, [text], filters, retired)
    return copies


@pytest.mark.parametrize("text", ["I run the check.", LONG, "那个文件里有答案" * 60, LONG.replace(" ", "_")])
def test_only_equal_texts_are_counted(workspace: Workspace, store: Store, text: str) -> None:
    others = [text + ".", text + " ", " " + text, text.replace("e", "e ", 1) + "x", text[: len(text) // 2]]
    store({n: [("user", "text", said)] for n, said in enumerate([text, *others, text, text], start=1)})
    index = opened(workspace)
    assert count(index, text, Filters(), set()) == Copies(3, True)
    assert count(index, text, Filters(episode_ids=[1, 2, 7]), set()) == Copies(2, True)
    assert count(index, text, Filters(roles=["tool"]), set()) == Copies(0, True)
    assert count(index, text, Filters(), {(7, 0)}) == Copies(2, True)
    assert count(index, text + "!", Filters(), set()) == Copies(0, True)


def test_very_many_copies_are_at_least_so_many(workspace: Workspace, store: Store) -> None:
    store({n: [("user", "text", "needle")] for n in range(1, MOST_COPIES + 11)})
    index = opened(workspace)
    assert count(index, "needle", Filters(), set()) == Copies(MOST_COPIES, False)
    chosen = Filters(episode_ids=[3, MOST_COPIES + 5])
    assert count(index, "needle", chosen, set()) == Copies(2, True)


def test_what_the_index_cannot_tell_is_not_counted(workspace: Workspace, store: Store) -> None:
    store({n: [("user", "text", "?!")] for n in range(1, 4)})
    assert count(opened(workspace), "?!", Filters(), set()) == Copies(0, False)
