"""Seven questions to a research assistant.

Takes nothing, gives ``QUESTIONS``. Surveys and numbers are invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Question:
    """A question, thoughts, a search with what it finds, and answers."""

    topic: str
    asked: tuple[str, ...]
    thoughts: tuple[str, ...]
    query: str
    found: str
    answers: tuple[str, ...]


QUESTIONS: Final = (
    Question(
        "moths",
        (
            "Do moths matter for pollination compared with bees?",
            "I am writing about night pollinators. How much do moths do?",
        ),
        (
            "Nocturnal visits are under-counted because nobody watches at night.",
            "Pollen load and visit rate are different things.",
        ),
        "moth nocturnal pollination effectiveness",
        "Allotment survey: moths carried pollen of 47 plants, 9 of which bees were not seen on.",
        (
            "Moths visit fewer flowers but reach plants that bees miss, so the two complement each other.",
            "Considerably: pollen of 47 plant species was found on moths in one survey.",
        ),
    ),
    Question(
        "bridges",
        (
            "Why do steel bridges near the coast corrode at the bearings first?",
            "What makes bearings of coastal bridges rust before the girders?",
        ),
        (
            "Chlorides plus trapped moisture; girders dry in the wind.",
            "Debris at the bearing keeps salt water in place.",
        ),
        "chloride corrosion bridge bearings coastal",
        "Inspection series of 120 bridges: section loss at bearings 3.1 times that at mid-span.",
        (
            "Salt and damp collect in the debris around bearings, while the girders dry out.",
            "Because salty dirt stays wet there; losses were about three times those at mid-span.",
        ),
    ),
    Question(
        "grain",
        (
            "How volatile were grain prices in the thirteenth century?",
            "Were medieval wheat prices really that unstable?",
        ),
        (
            "Manorial accounts give yearly prices; harvest failures dominate.",
            "Transport was dear, so local shortages could not be evened out.",
        ),
        "medieval wheat price volatility manorial accounts",
        "Coefficient of variation about 0.35 by year, falling after 1450.",
        (
            "Very: prices varied by about a third from year to year, mostly with the harvest.",
            "Yes. Without cheap transport a bad local harvest could double the price.",
        ),
    ),
    Question(
        "sleep",
        ("Does a nap after studying vocabulary help?", "Nap or no nap after learning words?"),
        (
            "Consolidation studies use word pairs; the effect is moderate.",
            "The study evaluated 40 students, which is small.",
        ),
        "nap declarative memory word pairs trial",
        "Randomised, 40 students: 14% more pairs recalled after a 60 minute nap.",
        (
            "A nap of an hour helped students recall roughly a seventh more, though the study was small.",
            "Probably a bit, but forty participants are few.",
        ),
    ),
    Question(
        "coral",
        (
            "Which corals recover fastest after bleaching?",
            "Is there a pattern in which corals come back after a heat wave?",
        ),
        ("Fast growers come back quickly but also die first.", "Massive species keep more tissue and recover slowly."),
        "coral recovery rates bleaching branching massive",
        "Branching Acropora regained cover in 6 years, massive Porites lost little.",
        (
            "Branching corals regrow fastest; massive ones lose less to begin with.",
            "Acropora, in about six years, if no second heat wave follows.",
        ),
    ),
    Question(
        "dialects",
        ("Are regional dialects of Norwegian disappearing?", "Is dialect levelling real in Norway?"),
        (
            "Levelling around cities, but dialect use in writing has grown.",
            "Schools never demanded a spoken standard, which helps dialects.",
        ),
        "Norwegian dialect levelling youth corpus",
        "Recordings 1960 to 2010: case endings lost near Oslo, intonation stable elsewhere.",
        (
            "They are levelling near the cities, and staying alive in text messages.",
            "Some features vanish around Oslo, yet intonation has hardly changed elsewhere.",
        ),
    ),
    Question(
        "sourdough",
        (
            "Where do the yeasts in a sourdough starter come from?",
            "Do sourdough microbes come from flour or from the air?",
        ),
        (
            "Flour carries the most; bakers' hands contribute lactobacilli.",
            "Air is a popular story with little support.",
        ),
        "sourdough starter microbial origin flour hands",
        "Fifteen bakers, same flour: starters alike in yeasts, differing in bacteria found on hands.",
        (
            "Mostly from the flour, with bacteria from the baker's hands.",
            "From flour, as far as sequencing tells; the air adds next to nothing.",
        ),
    ),
)
