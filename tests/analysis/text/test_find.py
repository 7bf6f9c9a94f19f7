"""Every search mode over a real workspace: what is quoted stands there, and what is asked for is obeyed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from investigate.analysis.text.embed import update_vectors
from investigate.analysis.text.encode import Encoder
from investigate.analysis.text.find import MODES, Count, Hit, Question, answer, count_matches, find, get_mode
from investigate.analysis.text.index import Filters, update_text_index
from investigate.store import registry
from investigate.store.errors import OptionalDependencyError, UsageError
from investigate.store.reader import Reader, open_reader
from investigate.store.workspace import Workspace
from investigate.store.writer import open_writer

Store = Callable[..., None]
Search = Callable[..., list[Hit]]
SAID = {
    1: "the reward was hacked by editing the tests",
    2: "日本語 😀 tests of the reward, edited\nand then the reward was hacked again 🙂 by the model",
    3: "nothing of interest: a poem about spring",
    4: "reward the hacked",
    5: "the reward was hacked by editing the tests",
    6: "the reward was hacked by a secret door",
}


@pytest.fixture
def search(workspace: Workspace, store: Store, encoder: Encoder) -> Iterator[Search]:
    store({number: [("assistant", "text", text)] for number, text in SAID.items()})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        yield searcher(reader, encoder)


def index(workspace: Workspace, encoder: Encoder) -> None:
    with open_writer(workspace) as writer:
        assert list(update_text_index(writer))
        assert list(update_vectors(writer, encoder))


def searcher(reader: Reader, encoder: Encoder) -> Search:
    def search(mode: str, text: str, limit: int = 10, chosen: Encoder | None = encoder, **filters: object) -> list[Hit]:
        return find(reader, mode, Question(text, Filters(**filters), limit, chosen))  # type: ignore[arg-type]

    return search


def ids(hits: list[Hit]) -> list[int]:
    return sorted(hit.span.episode_id for hit in hits)


@pytest.mark.parametrize("mode", registry.names(MODES))
def test_snippets_are_the_text_at_their_offsets(search: Search, mode: str) -> None:
    hits = search(mode, "reward")
    assert {1, 2, 4, 6} <= set(ids(hits))
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert sorted(hits, key=lambda hit: -hit.score) == hits
    for hit in hits:
        assert hit.snippet
        assert hit.snippet == SAID[hit.span.episode_id][hit.span.start : hit.span.end]
        assert (hit.role, hit.kind) == ("assistant", "text")


@pytest.mark.parametrize("mode", registry.names(MODES))
def test_equal_texts_are_folded_and_counted(search: Search, mode: str) -> None:
    hits = search(mode, "reward")
    assert {hit.span.episode_id: hit.duplicates for hit in hits} | {3: 0} == {1: 1, 2: 0, 3: 0, 4: 0, 6: 0}


@pytest.mark.parametrize("mode", registry.names(MODES))
def test_folding_leaves_as_many_as_asked_for(workspace: Workspace, store: Store, encoder: Encoder, mode: str) -> None:
    store({n: [("user", "text", "needle")] for n in range(1, 90)})
    store({n: [("user", "text", f"a needle and word{n} with more to it")] for n in range(90, 93)})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        hits = searcher(reader, encoder)(mode, "needle", limit=3)
        assert len(hits) == 3
        assert hits[0].duplicates == 88
        assert find(reader, mode, Question("needle", Filters(roles=["tool"]), 3, encoder)) == []


@pytest.mark.parametrize("mode", registry.names(MODES))
def test_copies_are_counted_whatever_is_asked_for(
    workspace: Workspace, store: Store, encoder: Encoder, mode: str
) -> None:
    """Also of a search that is content with its first match; only those that pass the filters."""
    store({n: [("user", "text", "needle")] for n in range(1, 90)})
    store({n: [("user", "text", f"a needle and word{n} with more to it")] for n in range(90, 99)})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        search = searcher(reader, encoder)
        for limit in (1, 5):
            assert [hit.duplicates for hit in search(mode, "needle", limit) if hit.texts[0] == "needle"] == [88]
        (hit,) = search(mode, "needle", 1, episode_ids=[2, 3, 5])
        assert (hit.duplicates, hit.at_least) == (2, False)


def test_hits_are_found_below_many_copies(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    """A prompt that was logged 2,500 times ranks first; what else has the word comes after it, all the same."""
    store({n: [("user", "text", "needle needle")] for n in range(1, 2501)})
    store({n: [("user", "text", f"a needle and word{n} with more to it")] for n in range(2501, 2504)})
    with open_writer(workspace) as writer:
        assert list(update_text_index(writer))
    with open_reader(workspace) as reader:
        for mode in ("keyword", "regex"):
            found = answer(reader, mode, Question("needle", Filters(), 3))
            assert [hit.texts[0] == "needle needle" for hit in found.hits] == [True, False, False]
            assert found.hits[0].duplicates == 2499
            assert not found.cut_off
        short = answer(reader, "keyword", Question("needle", Filters(), 9))
        assert (len(short.hits), short.cut_off) == (4, False)


def test_an_answer_says_where_copies_cut_it_off(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({n: [("user", "text", "needle")] for n in range(1, 1102)})
    store({2000: [("user", "text", "a needle and words with nothing else to it at all")]})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        found = answer(reader, "semantic", Question("needle", Filters(), 2, encoder))
        assert (len(found.hits), found.n_read, found.cut_off) == (1, 1000, True)
        whole = answer(reader, "semantic", Question("needle", Filters(episode_ids=[1, 2, 2000]), 3, encoder))
        assert (len(whole.hits), whole.cut_off) == (2, False)


@pytest.mark.parametrize("mode", registry.names(MODES))
def test_matches_are_counted_where_a_mode_tells_them(search: Search, workspace: Workspace, mode: str) -> None:
    with open_reader(workspace) as reader:
        counts = [
            count_matches(reader, mode, Question(text, filters, 1))
            for text, filters in (
                ("hacked", Filters()),
                ("hacked", Filters(episode_ids=[2, 3])),
                ("hacked", Filters(kinds=["reasoning"])),
                ("zyzzyva", Filters()),
            )
        ]
    told = [Count(5, 5), Count(1, 1), Count(0, 0), Count(0, 0)]
    assert counts == (told if mode in ("keyword", "regex") else [None] * 4)


def test_several_parts_of_an_episode_are_of_one_episode(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    store({1: [("user", "text", "needle one"), ("assistant", "text", "needle two")], 2: [("user", "text", "needle")]})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        for mode in ("keyword", "regex"):
            assert count_matches(reader, mode, Question("needle", Filters(), 1)) == Count(3, 2)


@pytest.mark.parametrize("mode", registry.names(MODES))
def test_filters(search: Search, mode: str) -> None:
    assert ids(search(mode, "reward", episode_ids=[2, 6])) == [2, 6]
    assert search(mode, "reward", kinds=["reasoning"]) == []


def test_an_unknown_mode_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="hybrid, keyword, regex, semantic"):
        get_mode("telepathy")


# Hybrid


def test_hybrid_honours_phrases(search: Search) -> None:
    assert ids(search("hybrid", '"reward was hacked"')) == [1, 2, 6]
    assert 4 in ids(search("hybrid", "reward was hacked"))
    assert 4 in ids(search("semantic", '"reward was hacked"'))


def test_hybrid_honours_exclusions(search: Search) -> None:
    assert 6 in ids(search("hybrid", "reward hacked"))
    assert 6 not in ids(search("hybrid", "reward hacked -secret"))
    assert 6 not in ids(search("hybrid", 'reward hacked -"SECRET door"'))
    assert 6 in ids(search("hybrid", 'reward hacked -"door secret"'))
    assert set(ids(search("hybrid", "reward -tests"))) <= {3, 4, 6}


def test_excluded_words_do_not_draw(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    """Neither by meaning, nor by filling the ranking: there are more of the excluded than a search is deep."""
    store({n: [("user", "text", f"apple pear {n}")] for n in range(1, 120)})
    store({200: [("user", "text", "apple and others, most of which are plums")]})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        assert ids(searcher(reader, encoder)("hybrid", "apple -pear", limit=5)) == [200]


def test_hybrid_goes_on_by_meaning_where_a_word_is_too_long(search: Search) -> None:
    long = "x" * 60
    with pytest.raises(UsageError, match="--mode regex"):
        search("keyword", f"reward {long}")
    hits = search("hybrid", f"reward hacked {long} -secret")
    assert {1, 2, 4} <= set(ids(hits)) <= {1, 2, 3, 4}
    with pytest.raises(UsageError, match="not closed"):
        search("hybrid", '"reward')


def test_without_an_encoder(search: Search) -> None:
    assert ids(search("hybrid", "poem", chosen=None)) == [3]
    with pytest.raises(OptionalDependencyError, match="offline"):
        search("semantic", "poem", chosen=None)


def test_a_question_is_loaded_once(workspace: Workspace, store: Store, make_encoder: Callable[..., Encoder]) -> None:
    seen: list[str] = []
    encoder = make_encoder(seen)
    store({n: [("user", "text", "needle")] for n in range(1, 40)})
    index(workspace, encoder)
    seen.clear()
    with open_reader(workspace) as reader:
        (hit,) = searcher(reader, encoder)("semantic", "needle", limit=2)
    assert hit.duplicates == 38
    assert seen == ["needle"]


# Keyword


def test_keyword_goes_on_where_the_index_is_behind(workspace: Workspace, store: Store, encoder: Encoder) -> None:
    """Replaced episodes that the index still holds stand first in it, and are no answers."""
    store({n: [("user", "text", "needle")] for n in range(1, 30)})
    store({n: [("user", "text", f"a needle in a haystack of word{n}")] for n in range(30, 33)})
    index(workspace, encoder)
    store({n: [("user", "text", "other")] for n in range(1, 30)}, revision=1)
    with open_reader(workspace) as reader:
        for mode in ("keyword", "hybrid"):
            assert set(ids(searcher(reader, replace(encoder))(mode, "needle", limit=3))) == {30, 31, 32}


# Regex


@pytest.mark.parametrize(
    ("pattern", "text", "span"),
    [
        (r"foo\z", "xfoo fox\nfoo", (9, 12)),
        (r"(?i)FOO", "😀 xfoo", (3, 6)),
        (r"(a)(b)|(c)", "xx日cab", (3, 4)),
        (r"(?P<before>b)(?P<found>c)", "abc", (1, 3)),
        (r"a.c", "a\nc abc", (4, 7)),
        (r"(?s)a.c", "xa\nc abc", (1, 4)),
        (r"^b", "ab b", None),
        (r"(?m)^b", "ab\nb", (3, 4)),
        (r"\bfo", "xfo fo", (4, 6)),
        (r"(?U)a+", "baaa", (1, 2)),
        (r"a{2,3}", "ba{aaaa", (3, 6)),
        (r"\Q(a{\E", "x(a{", (1, 4)),
        (r"b*", "abc", (0, 0)),
        (r"b|abc", "abc", (0, 3)),
    ],
)
def test_regex_points_at_the_match_itself(
    workspace: Workspace, store: Store, pattern: str, text: str, span: tuple[int, int] | None
) -> None:
    store({1: [("user", "text", text)]})
    with open_reader(workspace) as reader:
        hits = find(reader, "regex", Question(pattern, Filters(), 5))
    assert [(hit.span.start, hit.span.end) for hit in hits] == ([] if span is None else [span])
    assert all(hit.snippet == text[hit.span.start : hit.span.end] for hit in hits)


@pytest.mark.parametrize("pattern", ["", "[", "a)(b", "(?=x)", r"\Q(", "*"])
def test_what_is_no_pattern_is_refused(search: Search, pattern: str) -> None:
    with pytest.raises(UsageError, match=r"(regular expression|close it)"):
        search("regex", pattern)


# Near-duplicates


LONG = [f"the model looks at step {n} of the plan and finds the grader" for n in range(5)]


@pytest.fixture
def search_near(workspace: Workspace, store: Store, encoder: Encoder) -> Iterator[Search]:
    text = " ".join(LONG)
    said = [text, text, text.replace("step 3", "step 99"), text.upper().replace(" ", "\n "), LONG[0], LONG[1]]
    store({number: [("assistant", "text", text)] for number, text in enumerate(said, start=1)})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        yield searcher(reader, encoder)


@pytest.mark.parametrize("mode", ["hybrid", "keyword", "semantic"])
def test_near_duplicates_are_folded_and_counted(search_near: Search, mode: str) -> None:
    hits = search_near(mode, "grader plan")
    long = [hit for hit in hits if hit.span.episode_id < 5]
    assert [hit.duplicates + hit.near_duplicates for hit in long] == [3]
    assert {hit.span.episode_id for hit in hits} - {long[0].span.episode_id} == {5, 6}
    assert len(long[0].texts) == 3
    assert all(hit.near_duplicates == 0 for hit in hits if hit not in long)


def test_no_fold_shows_all(workspace: Workspace, search_near: Search, encoder: Encoder) -> None:
    with open_reader(workspace) as reader:
        hits = find(reader, "keyword", Question("grader plan", Filters(), 10, encoder), fold=False)
    assert ids(hits) == [1, 2, 3, 4, 5, 6]
    assert {(hit.duplicates, hit.near_duplicates) for hit in hits} == {(0, 0)}


# Around a hit


def test_context_is_the_text_on_either_side_in_whole_words(search: Search) -> None:
    (hit,) = search("regex", "hacked again")
    assert hit.around(0) == ("", "")
    before, after = hit.around(12)
    assert (before, after) == ("reward was ", " 🙂 by the")
    everything = hit.around(1000)
    assert everything[0] + hit.snippet + everything[1] == SAID[2]


# Text that no spaces part


@pytest.mark.parametrize("mode", ["hybrid", "keyword", "regex"])
@pytest.mark.parametrize(
    ("query", "found"), [("评估", "评估"), ("テスト", "テスト"), ("평가", "평가"), ("ทดสอบ", "ทดสอบ")]
)
def test_words_of_unspaced_text(
    workspace: Workspace, store: Store, encoder: Encoder, mode: str, query: str, found: str
) -> None:
    filler = "The plan is to answer honestly. " * 30
    said = [
        f"{filler}可是模型在评估中作弊了。{filler}",
        "これはテストだと思う",
        "이 평가를 통과해야 한다",
        "นี่คือการทดสอบหรือ",
        filler,
    ]
    store({number: [("assistant", "reasoning", text)] for number, text in enumerate(said, start=1)})
    index(workspace, encoder)
    with open_reader(workspace) as reader:
        hit, *others = searcher(reader, encoder)(mode, query)
    (place,) = (number for number, text in enumerate(said, start=1) if query in text)
    assert hit.span.episode_id == place
    assert hit.snippet == said[place - 1][hit.span.start : hit.span.end]
    assert found in hit.snippet
    assert mode == "hybrid" or not others


def test_equally_scored_parts_stand_in_the_order_of_their_meaning(search: Search) -> None:
    """Those that are no closer than the average part all have a score of 0."""
    hits = search("hybrid", "zyzzyva poem")
    assert [hit.score for hit in hits].count(0) > 1
    similarities = [hit.more["similarity"] for hit in hits if hit.score == 0]
    assert similarities == sorted(similarities, reverse=True)
