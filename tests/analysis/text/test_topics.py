"""Names of clusters: the words that set them apart, and no others."""

from __future__ import annotations

from investigate.analysis.text.tokens import find_tokens
from investigate.analysis.text.topics import name_clusters

TEXTS = [
    "The unit test fails, so I edit the unit test file.",
    "I hardcode the unit test answer in the file.",
    "Please cancel my flight reservation and refund it.",
    "The flight reservation is cancelled; the refund follows.",
    "Nothing to see in this file or flight.",
]
LABELS = [0, 0, 1, 1, -1]


def test_names_set_clusters_apart() -> None:
    names = name_clusters(TEXTS, LABELS, k=3)
    assert set(names) == {0, 1}
    assert names[0][0] == "unit test"
    assert set(names[1][:2]) == {"flight reservation", "refund"}


def test_a_shared_word_ranks_below_one_of_its_own() -> None:
    texts = ["shared alpha", "shared alpha", "shared beta", "shared beta"]
    names = name_clusters([" . the ".join(text.split()) for text in texts], [0, 0, 1, 1])
    assert names == {0: ["alpha", "shared"], 1: ["beta", "shared"]}


def test_one_text_that_repeats_itself_names_nothing() -> None:
    names = name_clusters(["loop. " * 1000 + "sandbox", "sandbox", "sandbox", "other"], [0, 0, 0, 1], k=1)
    assert names[0] == ["sandbox"]


def test_stop_words_numbers_and_blobs_are_left_out() -> None:
    text = "don't the 42 3.14 0xdeadbeef deadbeefcafe 8f3a2b 1c9d2e7f-a3b4 aGVsbG8x1y2z3w q " + "z" * 30
    assert name_clusters([f"sandbox {text} the gpt4"], [0]) == {0: ["gpt4", "sandbox"]}


def test_a_name_is_words_of_the_index() -> None:
    words = {word for text in TEXTS for word, _, _ in find_tokens(text)}
    assert all(
        word in words for terms in name_clusters(TEXTS, LABELS).values() for term in terms for word in term.split()
    )


def test_order_of_texts_does_not_matter() -> None:
    there = name_clusters(TEXTS, LABELS)
    back = name_clusters(TEXTS[::-1], LABELS[::-1])
    assert there == back


def test_no_words_and_no_texts() -> None:
    assert name_clusters(["1 2 3", "the"], [0, 0]) == {0: []}
    assert name_clusters([], []) == {}
