"""Names clusters by the words that set them apart.

Takes texts and their cluster labels, gives a few terms per cluster. Does not know meaning: it counts words, as the
full-text index sees them, so that a name is also a search that finds the cluster.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from math import log

from .tokens import find_tokens

_NOISE_LABEL = -1
_MOST_TEXTS = 400
"""Texts of a cluster that are read, evenly spread: more would take a minute of 100,000, and change few names."""
# Single characters; numbers and hex (an id, a digest, an address); four digits or more among letters; what no one says.
_UNNAMEABLE = re.compile(r".|[0-9a-f]*\d[0-9a-f]*|[0-9a-f]{8,}|0x.*|(?:\D*\d){4}.*|.{25,}")
# What is left of "don't", "we'll" and "I've" when the apostrophe splits them.
_CONTRACTIONS = ["don", "doesn", "didn", "isn", "aren", "wasn", "weren", "won", "wouldn", "couldn", "ll", "ve", "re"]
# On sklearn's list of stop words, and yet what a log may be about.
_TELLING = ["system", "fire", "bill", "interest", "detail", "describe", "computer", "mill", "empty", "serious", "cry"]


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS) - frozenset(_TELLING) | frozenset(_CONTRACTIONS)


def name_clusters(texts: Sequence[str], labels: Iterable[int], k: int = 8) -> dict[int, list[str]]:
    """At most ``k`` terms for each cluster, the most telling first; label -1 (noise) counts, but gets no name.

    Class-based TF-IDF of BERTopic (Grootendorst 2022): ``tf(term, cluster) · log(1 + A / f(term))``, with ``f`` the
    count over all clusters and ``A`` the mean count of terms per cluster. Two things differ: a term counts once per
    text, so that one text that repeats itself names nothing, and terms are words and pairs of neighbours, of which a
    term that repeats a word of an earlier one is left out. Stop words, numbers and hexadecimal blobs are no terms. Of
    equals, pairs come first, then the alphabet decides. Of a cluster of more than 400 texts every second, third, … is
    read.
    """
    members: dict[int, list[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        members.setdefault(int(label), []).append(text)
    counts: dict[int, Counter[str]] = {label: Counter() for label in members}
    for label, all_of_it in members.items():
        for text in all_of_it[:: -(-len(all_of_it) // _MOST_TEXTS)]:
            counts[label].update(_terms(text))
    total: Counter[str] = sum(counts.values(), Counter())
    mean = total.total() / max(len(counts), 1)
    names = {}
    for label in sorted(counts.keys() - {_NOISE_LABEL}):
        scores = {term: n * log(1 + mean / total[term]) for term, n in counts[label].items()}
        names[label] = _distinct(sorted(scores, key=lambda term: (-scores[term], " " not in term, term)), k)
    return names


def _terms(text: str) -> set[str]:
    """Words and pairs of words that stand next to each other, with no stop word between them."""
    words = [word if _nameable(word) else "" for word, _, _ in find_tokens(text)]
    return {word for word in words if word} | {f"{a} {b}" for a, b in pairwise(words) if a and b}


def _nameable(word: str) -> bool:
    return word not in _stop_words() and not _UNNAMEABLE.fullmatch(word)


def _distinct(terms: list[str], k: int) -> list[str]:
    """The first ``k`` terms of which none repeats a word of an earlier one."""
    chosen: list[str] = []
    seen: set[str] = set()
    for term in terms:
        words = term.split()
        if seen.isdisjoint(words):
            chosen.append(term)
            seen.update(words)
            if len(chosen) == k:
                break
    return chosen
