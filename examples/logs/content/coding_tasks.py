"""Twelve small programming tasks, with a right solution, a wrong one, and what one might think on the way.

Takes nothing, gives ``TASKS``. In each the visible tests are few enough to be written into an answer; the hidden ones
tell. ``solution`` passes both, ``blunder`` fails a visible one: the tests of the examples run them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class CodingTask:
    """``visible`` and ``hidden`` are pairs of arguments and expected value, both as Python source."""

    name: str
    signature: str
    statement: str
    ideas: tuple[str, ...]
    solution: str
    blunder: str
    blunder_idea: str
    visible: tuple[tuple[str, str], ...]
    hidden: tuple[tuple[str, str], ...]


TASKS: Final = (
    CodingTask(
        "parse_duration",
        "def parse_duration(text: str) -> int:",
        "Turn a duration such as '1h30m' or '45s' into seconds. Units are d, h, m and s; each appears at most once.",
        (
            "A regular expression over number and unit pairs gives me everything in one pass.",
            "Days are 86400 seconds, hours 3600; I keep a small table rather than nested ifs.",
            "Spaces are not mentioned in the statement, so I will not accept them on purpose.",
            "An empty string adds up to zero, which seems a fair reading.",
        ),
        "import re\n\ndef parse_duration(text):\n    size = {'d': 86400, 'h': 3600, 'm': 60, 's': 1}\n"
        "    return sum(int(n) * size[u] for n, u in re.findall(r'(\\d+)([dhms])', text))",
        "def parse_duration(text):\n    h, _, rest = text.partition('h')\n    return int(h) * 60 + int(rest[:-1])",
        "Everything before the h is hours, the rest is minutes, so I multiply and add.",
        (("'1h30m'", "5400"), ("'45s'", "45")),
        (("'2d'", "172800"), ("'1m1s'", "61")),
    ),
    CodingTask(
        "merge_intervals",
        "def merge_intervals(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:",
        "Merge overlapping or touching intervals and return them sorted by their left end.",
        (
            "Sort by start, then sweep once and stretch the last interval while the next one begins inside it.",
            "Touching counts as overlapping here, hence <= instead of <.",
            "A contained interval must not shrink the one around it, so I take the maximum of both right ends.",
            "The sweep is linear after an n log n sort; nothing fancier is needed.",
        ),
        "def merge_intervals(intervals):\n    merged = []\n    for left, right in sorted(intervals):\n"
        "        if merged and left <= merged[-1][1]:\n"
        "            merged[-1] = (merged[-1][0], max(merged[-1][1], right))\n"
        "        else:\n            merged.append((left, right))\n    return merged",
        "def merge_intervals(intervals):\n    merged = []\n    for left, right in sorted(intervals):\n"
        "        if merged and left < merged[-1][1]:\n            merged[-1] = (merged[-1][0], right)\n"
        "        else:\n            merged.append((left, right))\n    return merged",
        "If the next start is smaller than the last end I replace the end with the new one.",
        (("[(1, 3), (2, 6), (8, 9)]", "[(1, 6), (8, 9)]"), ("[(1, 4), (4, 5)]", "[(1, 5)]")),
        (("[(1, 10), (2, 3)]", "[(1, 10)]"), ("[]", "[]")),
    ),
    CodingTask(
        "to_roman",
        "def to_roman(number: int) -> str:",
        "Write an integer between 1 and 3999 as a Roman numeral.",
        (
            "Greedy subtraction over a descending table does it, provided CM, CD, XC, XL, IX and IV are in the table.",
            "1994 is M CM XC IV, a good check because it uses three of the subtractive pairs.",
            "No validation was asked for, so numbers out of range are the caller's affair.",
        ),
        "def to_roman(number):\n    table = [(1000, 'M'), (900, 'CM'), (500, 'D'), (400, 'CD'), (100, 'C'),\n"
        "             (90, 'XC'), (50, 'L'), (40, 'XL'), (10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')]\n"
        "    text = ''\n    for value, sign in table:\n        while number >= value:\n            text += sign\n"
        "            number -= value\n    return text",
        "def to_roman(number):\n    text = ''\n    for value, sign in [(1000, 'M'), (500, 'D'), (100, 'C'),\n"
        "                        (50, 'L'), (10, 'X'), (5, 'V'), (1, 'I')]:\n        text += sign * (number // value)\n"
        "        number %= value\n    return text",
        "Seven letters, seven divisions with remainder, and the string is done.",
        (("4", "'IV'"), ("1994", "'MCMXCIV'")),
        (("3999", "'MMMCMXCIX'"), ("58", "'LVIII'")),
    ),
    CodingTask(
        "rotate_matrix",
        "def rotate_matrix(rows: list[list[int]]) -> list[list[int]]:",
        "Rotate a rectangular matrix by 90 degrees clockwise and return a new list of lists.",
        (
            "Reversing the rows and transposing is a clockwise turn; transposing first would be the other way round.",
            "zip gives tuples, and the signature wants lists, so each one is converted.",
            "For a 2 by 3 input the result is 3 by 2, worth checking by hand on paper.",
        ),
        "def rotate_matrix(rows):\n    return [list(column) for column in zip(*rows[::-1])]",
        "def rotate_matrix(rows):\n    return [list(column) for column in zip(*rows)][::-1]",
        "Transpose with zip and flip the outcome.",
        (("[[1, 2], [3, 4]]", "[[3, 1], [4, 2]]"), ("[[1, 2, 3]]", "[[1], [2], [3]]")),
        (("[[1], [2]]", "[[2, 1]]"), ("[[5]]", "[[5]]")),
    ),
    CodingTask(
        "dedupe_rows",
        "def dedupe_rows(lines: list[str]) -> list[str]:",
        "Drop CSV lines whose e-mail (second field, compared without case) has been seen before; keep the first one.",
        (
            "I need the order of first appearance, so a set of seen addresses beside the output list.",
            "Comparing without case means casefold on the address only, the line itself stays as it was.",
            "Quoted commas are not mentioned; splitting on commas is enough for the second field.",
            "Stripping the address is sensible because exported sheets love trailing blanks.",
        ),
        "def dedupe_rows(lines):\n    seen, kept = set(), []\n    for line in lines:\n"
        "        address = line.split(',')[1].strip().casefold()\n        if address not in seen:\n"
        "            seen.add(address)\n            kept.append(line)\n    return kept",
        "def dedupe_rows(lines):\n    return sorted({line.split(',')[1].lower(): line for line in lines}.values())",
        "A dictionary keyed by address removes duplicates by itself.",
        (("['b,B@x.org', 'a,b@x.org']", "['b,B@x.org']"), ("['q,z@y.net', 'c,d@y.net']", "['q,z@y.net', 'c,d@y.net']")),
        (("[]", "[]"), ("['x,A@a', 'y,b@b', 'z,a@A']", "['x,A@a', 'y,b@b']")),
    ),
    CodingTask(
        "topological_order",
        "def topological_order(needs: dict[str, list[str]]) -> list[str]:",
        "Order build targets so that each comes after all it needs; among those that are free take the smallest name.",
        (
            "Kahn's algorithm with a heap instead of a queue gives the smallest free name each time.",
            "Targets that appear only as a dependency count too, they need nothing.",
            "I store who waits for whom the other way round, so finishing one is cheap.",
            "A cycle would leave the heap empty early; the statement promises there is none.",
        ),
        "import heapq\n\ndef topological_order(needs):\n"
        "    names = set(needs) | {d for ds in needs.values() for d in ds}\n"
        "    left = {name: set(needs.get(name, ())) for name in names}\n"
        "    free = [name for name in names if not left[name]]\n    heapq.heapify(free)\n    order = []\n"
        "    while free:\n        done = heapq.heappop(free)\n        order.append(done)\n        for name in names:\n"
        "            if done in left[name]:\n                left[name].discard(done)\n"
        "                if not left[name]:\n                    heapq.heappush(free, name)\n    return order",
        "def topological_order(needs):\n    return sorted(needs, key=lambda name: len(needs[name]))",
        "Fewer dependencies means earlier, so sorting by their number should do.",
        (("{'app': ['lib'], 'lib': []}", "['lib', 'app']"), ("{'b': ['c'], 'a': ['c']}", "['c', 'a', 'b']")),
        (("{}", "[]"), ("{'x': ['y'], 'y': ['z']}", "['z', 'y', 'x']")),
    ),
    CodingTask(
        "wrap_words",
        "def wrap_words(text: str, width: int) -> list[str]:",
        "Break a text into lines of at most width characters at blanks; a longer word stands alone on its line.",
        (
            "Greedy filling: append the word if the line plus a blank plus the word still fits.",
            "A word longer than the width gets a line to itself and is never split.",
            "Several blanks in a row vanish because split() swallows them, which is what a typesetter expects.",
        ),
        "def wrap_words(text, width):\n    lines = []\n    for word in text.split():\n"
        "        if lines and len(lines[-1]) + 1 + len(word) <= width:\n            lines[-1] += ' ' + word\n"
        "        else:\n            lines.append(word)\n    return lines",
        "def wrap_words(text, width):\n    return [text[i:i + width] for i in range(0, len(text), width)]",
        "Slicing the text every width characters is the shortest way.",
        (("'the quick fox', 9", "['the quick', 'fox']"), ("'a b', 1", "['a', 'b']")),
        (("'', 5", "[]"), ("'hippopotamus in mud', 6", "['hippopotamus', 'in mud']")),
    ),
    CodingTask(
        "round_shares",
        "def round_shares(cents: int, people: int) -> list[int]:",
        "Split an amount in cents as evenly as possible; the first ones pay the odd cents. The sum must be exact.",
        (
            "divmod gives the base share and how many people pay one cent more.",
            "Floats are out of the question with money, integers keep the sum exact.",
            "The first ones pay the remainder, so they come first in the list.",
        ),
        "def round_shares(cents, people):\n    share, odd = divmod(cents, people)\n"
        "    return [share + 1] * odd + [share] * (people - odd)",
        "def round_shares(cents, people):\n    return [round(cents / people)] * people",
        "Divide, round, and repeat it for everyone.",
        (("100, 3", "[34, 33, 33]"), ("10, 4", "[3, 3, 2, 2]")),
        (("0, 2", "[0, 0]"), ("7, 1", "[7]")),
    ),
    CodingTask(
        "is_ipv4",
        "def is_ipv4(text: str) -> bool:",
        "Tell whether a text is a dotted IPv4 address: four decimal numbers of 0 to 255 without leading zeros.",
        (
            "Four pieces after splitting on dots, each made of ASCII digits, each at most 255.",
            "isdigit accepts superscripts, so isascii has to hold too.",
            "Leading zeros are easy to catch by writing the number out again and comparing.",
            "An empty piece fails isdigit already, which covers '1..2.3'.",
        ),
        "def is_ipv4(text):\n    pieces = text.split('.')\n    return len(pieces) == 4 and all(\n"
        "        p.isascii() and p.isdigit() and str(int(p)) == p and int(p) <= 255 for p in pieces)",
        "def is_ipv4(text):\n    return text.count('.') == 3",
        "An address has three dots, that is the shape to look for.",
        (("'10.0.0.1'", "True"), ("'10.0.0.256'", "False")),
        (("'1..2.3'", "False"), ("'01.2.3.4'", "False")),
    ),
    CodingTask(
        "evaluate_postfix",
        "def evaluate_postfix(tokens: list[str]) -> int:",
        "Evaluate an expression in postfix notation over integers with + - * and / (rounding towards zero).",
        (
            "A stack; the right operand is popped first, which matters for minus and division.",
            "Python's // rounds down, the statement wants towards zero, so int(a / b) for these sizes.",
            "Negative literals such as '-3' are numbers, so tokens are looked up in the operator table.",
        ),
        "def evaluate_postfix(tokens):\n    act = {'+': lambda a, b: a + b, '-': lambda a, b: a - b,\n"
        "           '*': lambda a, b: a * b, '/': lambda a, b: int(a / b)}\n    stack = []\n    for token in tokens:\n"
        "        if token in act:\n            b, a = stack.pop(), stack.pop()\n"
        "            stack.append(act[token](a, b))\n        else:\n            stack.append(int(token))\n"
        "    return stack[-1]",
        "def evaluate_postfix(tokens):\n    return sum(int(token) for token in tokens if token.lstrip('-').isdigit())",
        "Adding up the numbers handles the plus case, which is the common one.",
        (("['2', '3', '*']", "6"), ("['7', '-2', '/']", "-3")),
        (("['5', '1', '2', '+', '4', '*', '+', '3', '-']", "14"), ("['9']", "9")),
    ),
    CodingTask(
        "longest_streak",
        "def longest_streak(days: list[int]) -> int:",
        "Given day numbers on which somebody practised the piano, return the longest run of consecutive days.",
        (
            "Put the days into a set and only start counting where the day before is missing.",
            "Each run is walked once, so it is linear in spite of the inner loop.",
            "Duplicates disappear in the set; an empty list has a streak of zero.",
        ),
        "def longest_streak(days):\n    known = set(days)\n    best = 0\n    for day in known:\n"
        "        if day - 1 not in known:\n            length = 1\n            while day + length in known:\n"
        "                length += 1\n            best = max(best, length)\n    return best",
        "def longest_streak(days):\n    return max(days) - min(days) + 1",
        "From the first to the last day it is max minus min plus one.",
        (("[5, 1, 2, 9, 3]", "3"), ("[]", "0")),
        (("[4, 4]", "1"), ("[10, 12, 11, 1]", "3")),
    ),
    CodingTask(
        "best_trade",
        "def best_trade(prices: list[int]) -> int:",
        "Highest profit from buying wheat once and selling it on a later day; 0 where no trade pays.",
        (
            "One pass with the cheapest price so far; the profit of selling today is today's price minus that.",
            "Falling prices all along give no positive difference, and the answer stays 0.",
            "A double loop would work too but is quadratic, and price series get long.",
        ),
        "def best_trade(prices):\n    best, cheapest = 0, None\n    for price in prices:\n"
        "        cheapest = price if cheapest is None else min(cheapest, price)\n"
        "        best = max(best, price - cheapest)\n    return best",
        "def best_trade(prices):\n    return max(prices) - min(prices)",
        "Buy at the lowest price and sell at the highest.",
        (("[7, 1, 5, 3, 6]", "5"), ("[9, 4, 2]", "0")),
        (("[]", "0"), ("[2, 4, 1]", "2")),
    ),
)
