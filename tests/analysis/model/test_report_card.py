"""The report card on planted truth: a probe worth having, one that text replaces, one that finds nothing."""

from dataclasses import replace

import numpy as np
from investigate.analysis.model.probe import get_kind
from investigate.analysis.model.report_card import Examples, choose_layer, report_card

KIND = get_kind("mean_difference")


def examples(seed: int, *, signal: float, telling: bool = False, leak: bool = False, n: int = 300) -> Examples:
    """Layer 1 carries the label with strength ``signal``, layers -1 and 0 nothing; ``telling`` texts say it in words,
    ``leak`` lets positives be longer."""
    rng = np.random.default_rng(seed)
    groups = [f"{seed}-{i // 5}" for i in range(n)]
    positive = np.repeat(rng.random(n // 5) < 0.5, 5)
    noise = {layer: rng.standard_normal((n, 32)) for layer in (-1, 0, 1)}
    direction = np.zeros(32)
    direction[3] = signal
    noise[1] = noise[1] + positive[:, None] * direction
    words = np.asarray(["red", "green", "blue", "grey"])
    seen = [" ".join(rng.choice(words, 6)) for _ in range(n)]
    if telling:
        seen = [f"{text} {'guilty' if label else 'innocent'}" for text, label in zip(seen, positive, strict=True)]
    whole = [f"{text} {'lied' if label else 'told'}" for text, label in zip(seen, positive, strict=True)]
    position = 10 + rng.integers(0, 3, n) + (2 * positive if leak else 0)
    return Examples(noise, positive, groups, seen, seen, whole, position)


def card(train: Examples, test: Examples) -> dict[str, object]:
    layer, profile = choose_layer(KIND, train, [-1, 0, 1], seed=0)
    readout = KIND.fit(train.activations[layer], train.positive, 0)
    return report_card(KIND, readout, layer, train, test, 0, profile)


def test_a_probe_worth_having() -> None:
    got = card(examples(0, signal=4), examples(1, signal=4))
    assert got["layer"] == 1
    assert got["auroc"] > 0.97  # type: ignore[operator]
    assert got["text_baseline"] < 0.6  # type: ignore[operator]
    assert got["text_baseline_whole"] > 0.99  # type: ignore[operator]
    assert 0.4 < got["label_permutation"]["mean"] < 0.6  # type: ignore[index]
    said = " ".join(got["verdict"])  # type: ignore[arg-type]
    assert "reads more than the words so far" in said
    assert "Read over the whole text, the text suffices" in said
    assert "Length leaks" not in said


def test_where_the_text_says_it_the_text_suffices() -> None:
    got = card(examples(0, signal=4, telling=True), examples(1, signal=4, telling=True))
    assert got["verdict"][0].startswith("The text suffices")  # type: ignore[index]


def test_no_signal_is_no_evidence() -> None:
    got = card(examples(0, signal=0), examples(1, signal=0))
    assert got["verdict"][0].startswith("No evidence")  # type: ignore[index]


def test_length_that_leaks_is_named() -> None:
    got = card(examples(0, signal=4, leak=True), examples(1, signal=4, leak=True))
    assert got["length_baseline"] > 0.8  # type: ignore[operator]
    assert any("Length leaks" in sentence for sentence in got["verdict"])  # type: ignore[union-attr]


def test_the_layer_is_chosen_on_training_data_alone() -> None:
    """Layer 1 tells the training pairs apart, layer 0 the held-out ones: the card must show layer 1 failing there."""
    train, test = examples(0, signal=4), examples(1, signal=4)
    swapped = replace(test, activations={-1: test.activations[-1], 0: test.activations[1], 1: test.activations[0]})
    got = card(train, swapped)
    assert got["layer"] == 1
    assert got["auroc"] < 0.65  # type: ignore[operator]


def test_a_probe_of_length_is_called_one() -> None:
    train, test = examples(0, signal=0, leak=True), examples(1, signal=0, leak=True)
    for part in (train, test):
        part.activations[1][:, 3] = 10 * part.position
    got = card(train, test)
    assert got["auroc"] > 0.8  # type: ignore[operator]
    assert got["verdict"][0].startswith("Position alone suffices")  # type: ignore[index]


def test_a_concept_that_is_everywhere_is_no_direction() -> None:
    train, test = examples(0, signal=4), examples(1, signal=4)
    for part in (train, test):
        part.activations[1][:] += 20.0 * part.positive[:, None]
    assert any("all over this layer" in sentence for sentence in card(train, test)["verdict"])  # type: ignore[union-attr]


def test_numbers_repeat() -> None:
    first, second = (card(examples(0, signal=1), examples(1, signal=1)) for _ in range(2))
    assert first == second
