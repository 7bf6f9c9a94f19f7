"""Concepts from a handful of examples: what they learn, what they admit, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from investigate.analysis.text.concept import (
    Example,
    concept_encoder,
    example_texts,
    labelled_examples,
    list_concepts,
    load_concept,
    read_examples,
    save_concept,
    train_concept,
)
from investigate.analysis.text.embed import update_vectors
from investigate.analysis.text.encode import Encoder
from investigate.analysis.text.find import Question, find
from investigate.analysis.text.index import Filters, update_text_index
from investigate.analysis.text.vectors import open_vectors
from investigate.store.errors import InputError, NotFoundError, UsageError
from investigate.store.reader import open_reader
from investigate.store.workspace import Workspace
from investigate.store.writer import open_writer

Store = Callable[..., None]
FRUIT = ["a red apple", "the apple fell", "apple pie recipe", "one green apple", "apple and pear"]
STONE = ["a grey stone", "the stone fell", "stone wall", "one heavy stone", "stone and sand"]
COMMON = [f"word{n} thing{n % 7} item{n % 5}" for n in range(60)]


def examples(positive: list[str], negative: list[str]) -> list[Example]:
    return [Example(text, label, text) for texts, label in ((positive, True), (negative, False)) for text in texts]


def test_it_ranks_what_it_has_not_seen(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    concept = train_concept("fruit", examples(FRUIT, STONE), COMMON, encoder)
    assert concept.report.auroc == 1
    assert concept.report.shuffled_mean < 0.8
    assert (concept.report.n_positive, concept.report.n_negative, concept.report.n_background) == (5, 5, 60)
    said = ["my apple tree", "a stone bridge", "something else", "eat an apple"]
    store({n: [("user", "text", text)] for n, text in enumerate(said, 1)})
    with open_writer(workspace) as writer:
        list(update_vectors(writer, encoder))
    with open_reader(workspace) as reader:
        query = concept_encoder(concept, encoder).ask(["any"])[0]
        hits = open_vectors(reader, encoder).search(query, Filters(), 4)
    assert {hit.span.episode_id for hit in hits[:2]} == {1, 4}
    assert hits[-1].span.episode_id == 2


def test_labels_that_mean_nothing_are_reported_as_such(encoder: Encoder) -> None:
    """The negative control: texts under random labels, eight times; of one draw, 0.78 is not rare."""
    found = []
    for seed in range(8):
        numbers = np.random.default_rng(seed)
        words = [f"w{a} w{b} w{c}" for a, b, c in numbers.integers(0, 40, (40, 3))]
        found.append(train_concept("noise", examples(words[:20], words[20:]), COMMON, encoder).report)
    assert abs(np.mean([report.auroc for report in found]) - 0.5) < 0.1
    assert sum(report.auroc_low > 0.5 for report in found) <= 2
    assert all(0.35 < report.shuffled_mean < 0.65 for report in found)


def test_examples_of_one_episode_are_left_out_together(encoder: Encoder) -> None:
    """Texts of an episode share its words: what tells two episodes apart says nothing of a third."""
    positive = [Example(f"{name} {name}y {word}", True, name) for name in ("xa", "xb", "xc") for word in ("one", "two")]
    negative = [
        Example(f"{name} {name}y {word}", False, name) for name in ("ya", "yb", "yc") for word in ("one", "two")
    ]
    by_episode = train_concept("a", positive + negative, COMMON, encoder).report
    alone = [replace(example, group=example.text) for example in positive + negative]
    by_text = train_concept("a", alone, COMMON, encoder).report
    assert (by_episode.n_groups, by_text.n_groups) == (6, 12)
    assert by_episode.auroc < 0.9
    assert by_text.auroc == 1


def test_it_is_kept(workspace: Workspace, encoder: Encoder) -> None:
    concept = train_concept("fruit", examples(FRUIT, STONE), COMMON, encoder)
    save_concept(workspace, concept)
    assert list_concepts(workspace) == ["fruit"]
    found = load_concept(workspace, "fruit")
    assert np.array_equal(found.weights, concept.weights)
    assert (found.report, found.encoder) == (concept.report, encoder.name)
    assert found.examples == ()
    with pytest.raises(NotFoundError, match=r"no concept 'fruits'; there are: fruit"):
        load_concept(workspace, "fruits")
    with pytest.raises(InputError, match="train it again"):
        concept_encoder(found, replace(encoder, fingerprint="1" * 64))


def test_its_examples_are_no_hits(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    said = [*FRUIT, *STONE, "my apple tree", "eat an apple", *COMMON]
    store({n: [("user", "text", text)] for n, text in enumerate(said, 1)})
    with open_writer(workspace) as writer:
        list(update_vectors(writer, encoder))
        list(update_text_index(writer))
    with open_reader(workspace) as reader:
        given = read_examples(reader, [f"{n}@0.0" for n in range(1, 6)], True)
        given += read_examples(reader, [f"{n}@0.0" for n in range(6, 11)], False)
        save_concept(workspace, train_concept("fruit", given, COMMON, encoder))
        concept = load_concept(workspace, "fruit")
        assert [part.episode_id for part in concept.examples] == list(range(1, 11))
        reads = concept_encoder(concept, encoder)
        question = Question("", Filters(), 5, reads)
        assert {hit.span.episode_id for hit in find(reader, "semantic", question)} & set(range(1, 6))
        hits = find(reader, "semantic", replace(question, no_hits=example_texts(reader, concept)))
        assert {hit.span.episode_id for hit in hits[:2]} == {11, 12}
        assert not {hit.span.episode_id for hit in hits} & set(range(1, 11))
    assert example_texts(reader, replace(concept, examples=())) == ()


def test_a_report_says_whether_it_is_better_than_permuted_labels(encoder: Encoder) -> None:
    good = train_concept("fruit", examples(FRUIT, STONE), COMMON, encoder).report
    assert good.tells is (good.shuffled_max < 1)
    told = replace(good, auroc=0.9, auroc_low=0.7, shuffled_max=0.8)
    assert told.tells
    assert not replace(told, shuffled_max=0.9).tells
    assert not replace(told, auroc_low=0.5).tells


@pytest.mark.parametrize(
    ("name", "given", "error", "says"),
    [
        ("a/b", examples(FRUIT, STONE), UsageError, "cannot be the name"),
        ("a", examples(FRUIT, STONE[:2]), InputError, "3 different negative examples"),
        ("a", examples([FRUIT[0]] * 5, STONE), InputError, "3 different positive examples"),
        ("a", examples(FRUIT, [*STONE, FRUIT[0]]), InputError, "both a positive and a negative"),
        (
            "a",
            [replace(e, group="1") if e.positive else e for e in examples(FRUIT, STONE)],
            InputError,
            "of one episode",
        ),
    ],
)
def test_what_cannot_be_learned_from(
    encoder: Encoder, name: str, given: list[Example], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        train_concept(name, given, COMMON, encoder)


def test_examples_as_they_are_typed(workspace: Workspace, store: Store) -> None:
    store({7: [("user", "text", "hello there"), ("assistant", "text", "a red apple")]})
    with open_reader(workspace) as reader:
        found = read_examples(reader, ["7@1.0", "7@1.0 [2, 5)", "free text", "7@0.0[0:5]"], True)
        assert [(example.text, example.group) for example in found] == [
            ("a red apple", "7"), ("red", "7"), ("free text", "free text"), ("hello", "7"),
        ]  # fmt: skip
        with pytest.raises(NotFoundError, match=r"no part 7@5\.0; `investigate show 7`"):
            read_examples(reader, ["7@5.0"], True)
        with pytest.raises(InputError, match="it has 11 characters"):
            read_examples(reader, ["7@1.0[50,60)"], True)
        for typed in ("7@1", "7@", "7@1.0 [2"):
            with pytest.raises(UsageError, match="no place"):
                read_examples(reader, [typed], True)
        free = ["mail me@home.org", "numpy@1.26", "7@1.0 and more"]
        assert [example.text for example in read_examples(reader, free, True)] == free
        row = {"episode_id": 7, "message_index": 1, "part_index": 0, "start": 0, "end": 5}
        assert labelled_examples(reader, [{**row, "label": False}]) == [Example("a red", False, "7")]
        for wrong in ({}, {"label": "yes"}):
            with pytest.raises(InputError, match="true or false"):
                labelled_examples(reader, [{**row, **wrong}])
