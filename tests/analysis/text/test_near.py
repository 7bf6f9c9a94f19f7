"""Near-duplicates: planted ones fold, other texts do not."""

from __future__ import annotations

import random

import pytest
from investigate.analysis.text.near import Folds, are_near

WORDS = [a + b + c for a in "bcdfghjklmnprst" for b in "aeiou" for c in ("", "n", "st", "ming")]


def made(seed: int, n: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=n)


def changed(words: list[str], place: int, word: str) -> list[str]:
    return [*words[:place], word, *words[place + 1 :]]


@pytest.mark.parametrize("n", [1, 2, 3, 10, 60, 5000])
def test_white_space_and_case_fold_at_any_length(n: int) -> None:
    words = made(n, n)
    assert are_near(" ".join(words), "\n\n   ".join(words).upper() + "\t")


@pytest.mark.parametrize("n", [40, 300, 5000])
def test_one_changed_number_or_word_folds_in_a_long_text(n: int) -> None:
    words = changed(made(n, n), n // 2, "41")
    other = changed(words, n // 2, "42")
    assert are_near(" ".join(words), " ".join(other))
    assert are_near(" ".join(words), " ".join(changed(words, n // 3, "entirely")))
    assert are_near(" ".join(words), " ".join([*words, "more"]))


@pytest.mark.parametrize("n", [1, 3, 10, 20])
def test_one_changed_word_in_a_short_text_is_another_text(n: int) -> None:
    words = made(n, n)
    assert not are_near(" ".join(words), " ".join(changed(words, n // 2, "42")))


def test_different_texts_do_not_fold() -> None:
    folds = Folds()
    numbers = [folds.add(" ".join(made(seed, n))) for seed, n in enumerate([50, 50, 51, 400, 410, 3000, 3100])]
    assert numbers == list(range(7))
    assert len(folds) == 7


def test_half_in_common_does_not_fold() -> None:
    common = made(0, 200)
    assert not are_near(" ".join(common + made(1, 200)), " ".join(common + made(2, 200)))
    assert not are_near(" ".join(common), " ".join(made(1, 200) + common))


def test_the_same_over_and_over_is_not_the_same() -> None:
    once = " ".join(made(3, 50))
    assert not are_near(once, " ".join([once] * 10))


def test_same_words_in_another_order_are_another_text() -> None:
    words = made(5, 300)
    assert not are_near(" ".join(words), " ".join(sorted(words)))


def test_texts_without_spaces() -> None:
    text = "模型在评估中发现奖励函数可以被修改于是它编辑了测试文件并且报告成功"
    assert are_near(text, text[:-1] + "完")
    assert not are_near(text, "今天天气很好我们一起去公园散步然后回家吃饭看电视睡觉明天再见朋友")


def test_who_comes_first_leads() -> None:
    words = made(7, 100)
    texts = [" ".join(words), "something else", " ".join(changed(words, 50, "x")), "something else", "Something  else"]
    folds = Folds()
    assert [folds.add(text) for text in texts] == [0, 1, 0, 1, 1]


def test_empty_texts() -> None:
    assert are_near("", " \n")
    assert not are_near("", "a")


def test_sketches_estimate_the_similarity_of_long_texts() -> None:
    """Shingles in common, counted, against the threshold: clear of it, a sketch never errs here."""
    for seed in range(20):
        words = made(seed, 4000)
        few, many = words, words
        draw = random.Random(seed)
        for place in draw.sample(range(4000), 60):
            few = changed(few, place, f"new{place}")
        for place in draw.sample(range(4000), 400):
            many = changed(many, place, f"new{place}")
        assert are_near(" ".join(words), " ".join(few))  # similarity 0.91
        assert not are_near(" ".join(words), " ".join(many))  # 0.57


def test_folds_are_those_of_a_comparison_with_every_leader() -> None:
    """Texts of all lengths with ever more words changed, so that similarities lie on both sides of the limit."""
    numbers = random.Random(0)
    texts = []
    for n in (1, 2, 3, 5, 8, 15, 30, 60, 100, 150, 300, 500, 700, 1200):
        words = made(n, n)
        for share in (0, 0.01, 0.02, 0.03, 0.05, 0.3):
            texts.append(" ".join(numbers.choice(WORDS) if numbers.random() < share else word for word in words))
        texts.append(" ".join(words[: max(1, int(n * 0.82))]))
    numbers.shuffle(texts)
    folds = Folds()
    leaders: list[str] = []
    for text in texts:
        expected = next((i for i, leader in enumerate(leaders) if are_near(leader, text)), len(leaders))
        leaders += [text] if expected == len(leaders) else []
        assert folds.add(text) == expected
    assert 14 < len(leaders) < len(set(texts)) - 10
