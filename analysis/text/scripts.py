"""Which scripts the words of episodes are written in: a chain of thought that changes its language often changes those.

Takes tokens, gives counts of characters. Does not know languages: English and French are both Latin.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import numpy as np

from .sides import Floats, Ints
from .terms import Tokens

SCRIPTS: Final = ("LATIN", "CJK", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "HANGUL", "DEVANAGARI", "THAI", "other")
_OF_NAME: Final = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK", "IDEOGRAPHIC": "CJK"}


def letters_by_script(tokens: Tokens, cell: Ints) -> Floats:
    """(episodes, SCRIPTS): characters of words in each script. A word is of the script of its first letter; numbers
    are of none."""
    scripts = np.array([_script(word.decode()) for word in tokens.words], np.int64)
    sizes = np.array([len(word.decode()) for word in tokens.words], float)
    # Of these the index holds each character, and then every pair once more.
    sizes[np.isin(scripts, [SCRIPTS.index("CJK"), SCRIPTS.index("HANGUL")]) & (sizes > 1)] = 0
    counts = np.zeros((len(tokens.lengths), len(SCRIPTS)))
    for first, end in tokens.bounds(cell):
        numbers, episode = tokens.block(first, end)
        known = scripts[numbers] >= 0
        place = episode[known] * len(SCRIPTS) + scripts[numbers[known]]
        summed = np.bincount(place, sizes[numbers[known]], minlength=(end - first) * len(SCRIPTS))
        counts[first:end] = summed.reshape(-1, len(SCRIPTS))
    return counts


def _script(word: str) -> int:
    letter = next((letter for letter in word if letter.isalpha()), None)
    if letter is None:
        return -1
    name = unicodedata.name(letter, "").split(" ")[0]
    name = _OF_NAME.get(name, name)
    return SCRIPTS.index(name) if name in SCRIPTS else SCRIPTS.index("other")
