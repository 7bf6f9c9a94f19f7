"""Search by example, re-ranking, the first step, and random parts, over a real workspace with planted truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256

import pytest
from investigate.analysis.text.embed import update_vectors
from investigate.analysis.text.encode import Encoder
from investigate.analysis.text.find import Question, find
from investigate.analysis.text.first_seen import FirstSeen, earliest_first, first_seen
from investigate.analysis.text.index import Filters, PartKey, update_text_index
from investigate.analysis.text.like import resemble, telling_terms
from investigate.analysis.text.rerank import rerank
from investigate.analysis.text.sample import count_parts, random_parts
from investigate.store.errors import InputError, NotFoundError, UsageError
from investigate.store.reader import Reader, open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Episode, Message, Part
from investigate.store.workspace import Workspace
from investigate.store.writer import Commit, open_writer

Store = Callable[..., None]

HACK = "the grader reads expected output from a file so i overwrite that file and every check passes without any work"
SAID: dict[int, list[tuple[str, str, str]]] = {
    1: [("user", "text", "please sort the list"), ("assistant", "reasoning", HACK), ("assistant", "text", "all done")],
    2: [("assistant", "reasoning", HACK)],
    3: [("assistant", "reasoning", HACK.upper().replace(" ", "\n"))],
    4: [("assistant", "reasoning", "i overwrite the expected output so that the grader passes")],
    5: [("assistant", "reasoning", "a grader is a kind of file")],
    6: [("assistant", "text", "i overwrite the file of expected output and the grader never knows")],
    7: [("assistant", "reasoning", "spring rain falls on quiet hills")],
    8: [("user", "text", "please sort the list"), ("assistant", "text", "all done")],
}


@pytest.fixture
def reader(workspace: Workspace, store: Store, encoder: Encoder) -> Iterator[Reader]:
    store(SAID)
    with open_writer(workspace) as writer:
        assert list(update_text_index(writer))
        assert list(update_vectors(writer, encoder))
    with open_reader(workspace) as opened:
        yield opened


def asked(reader: Reader, place: str, encoder: Encoder | None, limit: int = 10, **filters: object) -> Question:
    chosen = Filters(**filters)  # type: ignore[arg-type]
    return Question("", chosen, limit, encoder, resemble(reader, place, chosen))


# By example


@pytest.mark.parametrize("mode", ["hybrid", "keyword", "semantic"])
def test_what_is_like_a_part_without_itself_and_its_duplicates(reader: Reader, encoder: Encoder, mode: str) -> None:
    hits = find(reader, mode, asked(reader, "1@1.0", encoder))
    places = [(hit.span.episode_id, hit.span.message_index) for hit in hits]
    assert {(1, 1), (2, 0), (3, 0)}.isdisjoint(places)
    assert set(places[:2]) == {(4, 0), (6, 0)}
    for hit in hits:
        text = SAID[hit.span.episode_id][hit.span.message_index][2]
        assert hit.snippet == text[hit.span.start : hit.span.end]
    without_fold = find(reader, mode, asked(reader, "1@1.0", encoder), fold=False)
    assert {2, 3}.isdisjoint(hit.span.episode_id for hit in without_fold)


def test_what_is_like_an_episode_obeys_the_filters(reader: Reader, encoder: Encoder) -> None:
    question = asked(reader, "1", encoder, kinds=["reasoning"])
    assert question.like is not None
    assert question.like.texts == (HACK,)
    assert find(reader, "hybrid", question)[0].span.episode_id == 4
    whole = asked(reader, "1", encoder)
    assert whole.like is not None
    assert whole.like.texts == tuple(text for *_, text in SAID[1])
    assert 8 not in {hit.span.episode_id for hit in find(reader, "hybrid", whole)}  # says nothing else


def test_what_is_like_a_passage_of_a_part(reader: Reader, encoder: Encoder) -> None:
    """As a hit is copied from the screen: the words of the passage alone, and not the part that it stands in."""
    start = HACK.index("every check")
    like = resemble(reader, f"1@1.0 [{start}, {start + len('every check passes')})", Filters())
    assert like.passages == ("every check passes",)
    assert like.texts == (HACK,)
    assert set(like.terms.terms) <= {"every", "check", "passes"}
    question = Question("", Filters(), 10, encoder, like)
    assert {1, 2, 3}.isdisjoint(hit.span.episode_id for hit in find(reader, "keyword", question))


def test_telling_words_are_rare_and_stand_elsewhere_too(reader: Reader) -> None:
    terms = telling_terms(reader, (HACK,))
    assert "spring" not in terms
    assert terms.index("overwrite") < terms.index("the")
    assert len(telling_terms(reader, (HACK,), 3)) == 3
    assert telling_terms(reader, ("nobody ever wrote zyzzyva but here zyzzyva",)) == ()


def test_an_example_of_words_that_stand_nowhere_else(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "zyzzyva")], 2: [("user", "text", "aardvark")]})
    with open_writer(workspace) as writer:
        assert list(update_text_index(writer))
    with open_reader(workspace) as opened:
        assert find(opened, "keyword", asked(opened, "1@0.0", None)) == []


def test_places_that_are_none(reader: Reader) -> None:
    with pytest.raises(NotFoundError, match="investigate show 1"):
        resemble(reader, "1@9.0", Filters())
    with pytest.raises(NotFoundError, match="no episode"):
        resemble(reader, "99", Filters())
    with pytest.raises(UsageError, match="no text"):
        resemble(reader, "8", Filters(kinds=["reasoning"]))
    for typed in ("1@1", "1@9", "1@", "1@1.0 [2", "1@1.0 [2, 5) and so on", "log-000001#0@1", "@"):
        with pytest.raises(UsageError, match="no place"):
            resemble(reader, typed, Filters())
    with pytest.raises(InputError, match="characters"):
        resemble(reader, "1@1.0 [5000, 5010)", Filters())
    with pytest.raises(UsageError, match="--mode hybrid"):
        find(reader, "regex", asked(reader, "1@1.0", None))


# Hybrid


def test_hybrid_says_what_each_half_found(reader: Reader, encoder: Encoder) -> None:
    question = Question("overwrite expected output", Filters(), 10, encoder)
    halves = [
        {hit.span.episode_id: hit for hit in find(reader, mode, question, fold=False)}
        for mode in ("keyword", "semantic")
    ]
    hits = find(reader, "hybrid", question, fold=False)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        for half, rank, score in zip(
            halves, ("keyword_rank", "semantic_rank"), ("keyword_score", "similarity"), strict=True
        ):
            alone = half.get(hit.span.episode_id)
            if alone and alone.span.message_index == hit.span.message_index:
                assert hit.more[rank] == alone.rank
                assert hit.more[score] == pytest.approx(alone.score, abs=2e-3)
    assert hits[-1].more["keyword_rank"] is None
    assert hits[-1].more["keyword_score"] == 0


# Re-ranking


def test_another_encoder_renews_the_order(
    reader: Reader, encoder: Encoder, make_encoder: Callable[..., Encoder]
) -> None:
    seen: list[str] = []
    other = make_encoder(seen)
    liked = other.encode(["spring rain"])
    # An encoder to which every text is as close to the question as it is to spring.
    spring = replace(
        other,
        name="spring",
        encode=lambda texts: other.encode([text.replace("grader", "spring rain") for text in texts]),
    )
    question = Question("grader", Filters(kinds=["reasoning"]), 10, encoder)
    hits = find(reader, "semantic", question)
    before = {hit.span.episode_id: hit.rank for hit in hits}
    seen.clear()
    again = rerank(reader, "semantic", question, hits, spring)
    assert again[0].span.episode_id == 7
    assert [hit.rank for hit in again] == list(range(1, len(again) + 1))
    assert {hit.span.episode_id: hit.more["rerank"]["rank_before"] for hit in again} == before
    for hit in again:
        shown = other.encode([SAID[hit.span.episode_id][hit.span.message_index][2].replace("grader", "spring rain")])
        assert hit.more["rerank"]["similarity"] == pytest.approx(float((shown @ liked.T)[0, 0]), abs=1e-6)
        assert hit.score == hit.more["rerank"]["similarity"]
    assert rerank(reader, "hybrid", question, [], spring) == []


def test_words_are_not_forgotten_by_re_ranking(reader: Reader, encoder: Encoder) -> None:
    blind = replace(encoder, encode=lambda texts: encoder.encode(["same"] * len(texts)))
    question = Question("overwrite expected output", Filters(), 10, encoder)
    hits = rerank(reader, "hybrid", question, find(reader, "hybrid", question), blind)
    scores = [hit.more["keyword_score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_nor_where_words_alone_were_searched(reader: Reader, encoder: Encoder) -> None:
    """Hybrid without an encoder: its scores are those of the words."""
    blind = replace(encoder, encode=lambda texts: encoder.encode(["same"] * len(texts)))
    question = Question("spring hills grader", Filters(), 10)
    found = find(reader, "hybrid", question)
    before = {hit.span: hit.score for hit in found}
    again = rerank(reader, "hybrid", question, found, blind)
    assert again[0].score > again[-1].score
    assert [before[hit.span] for hit in again] == sorted(before.values(), reverse=True)


def test_a_question_of_meaning_is_read_as_it_stands(reader: Reader, encoder: Encoder) -> None:
    read: list[str] = []
    listening = replace(encoder, encode_questions=lambda texts: (read.extend(texts), encoder.encode(texts))[1])
    question = Question('a "grader -spring', Filters(), 10, encoder)
    assert rerank(reader, "semantic", question, find(reader, "semantic", question), listening)
    assert read == [question.text]


# First seen


def test_the_first_step_is_that_of_the_whole_fold(workspace: Workspace) -> None:
    long = " ".join(f"word{i}" for i in range(60))
    steps = {
        1: (500, long),
        2: (40, long),
        3: (30, long.replace("word7", "other")),
        4: (20, "short"),
        5: (None, "short"),
    }
    steps |= {6: (None, "never said when"), 7: (10, "unrelated")}
    rows = ShardRows()
    for episode_id, (step, text) in steps.items():
        digest = sha256(str(episode_id).encode()).hexdigest()[:32]
        message = Message("assistant", (Part("text", text),))
        rows.add_episode(
            Episode(
                "log",
                str(episode_id),
                digest,
                "chat",
                (message,),
                episode_id=episode_id,
                training_step=step,
                uid=digest,
            )
        )
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], []))
        assert list(update_text_index(writer))
    with open_reader(workspace) as opened:
        hits = find(opened, "keyword", Question("word9 short never", Filters(), 10))
        found = {hit.span.episode_id: seen for hit, seen in zip(hits, first_seen(opened, hits, Filters()), strict=True)}
        by_text = {hit.texts[0].split()[0]: found[hit.span.episode_id] for hit in hits}
        assert by_text["word0"] == FirstSeen(30, 3, 3, 0)
        assert by_text["short"] == FirstSeen(20, 4, 2, 1)
        assert by_text["never"] == FirstSeen(None, None, 1, 1)
        late = Filters(episode_ids=[1, 2])
        hits = find(opened, "keyword", Question("word9", late, 10))
        assert first_seen(opened, hits, late) == [FirstSeen(40, 2, 2, 0)]
        assert first_seen(opened, [], late) == []


@pytest.mark.parametrize("mode", ["keyword", "regex"])
def test_the_earliest_of_all_matches_come_first(workspace: Workspace, mode: str) -> None:
    """Planted: the best match is the latest, the first occurrence one of the worst."""
    rows = ShardRows()
    for n in range(1, 41):
        step = None if n == 40 else 100 - n
        text = "needle " * (41 - n) + " ".join(f"w{n}x{i}" for i in range(3 * n))
        episode = Episode("log", str(n), f"{n:032x}", "chat", (Message("user", (Part("text", text),)),), episode_id=n)
        rows.add_episode(replace(episode, training_step=step, uid=f"{n:032x}"))
    with open_writer(workspace) as writer:
        writer.commit(Commit(rows.write(workspace.root), [], []))
        assert list(update_text_index(writer))
    with open_reader(workspace) as opened:
        best = find(opened, mode, Question("needle", Filters(), 3))
        assert 39 not in {hit.span.episode_id for hit in best}
        for limit in (1, 3, 40):
            hits = find(opened, mode, Question("needle", Filters(), limit, earliest=True))
            ids = [hit.span.episode_id for hit in hits]
            assert ids == [*range(39, 0, -1), 40][:limit]
            assert [seen.step for seen in first_seen(opened, hits, Filters())] == [
                None if n == 40 else 100 - n for n in ids
            ]
        late = Filters(episode_ids=[1, 5])
        (hit,) = find(opened, mode, Question("needle", late, 1, earliest=True))
        assert hit.span.episode_id == 5


def test_parts_without_any_step_keep_their_order(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "a")], 2: [("user", "text", "b")]})
    keys = [PartKey(2, 0, 0), PartKey(1, 0, 0)]
    with open_reader(workspace) as opened:
        assert earliest_first(opened, keys) == keys


# Random parts


def test_random_parts_are_uniform_over_the_selection(workspace: Workspace, store: Store) -> None:
    """Each of 30 parts in 600 draws of 5 is drawn 100 times, but for chance (5 standard deviations of 9.1)."""
    store(
        {
            1: [("user", "text", f"said {n}") for n in range(25)],
            2: [("tool", "tool_result", f"got {n}") for n in range(5)],
        }
    )
    with open_reader(workspace) as opened:
        drawn: Counter[tuple[int, int]] = Counter()
        for seed in range(600):
            hits = random_parts(opened, Filters(), 5, seed)
            keys = {(hit.span.episode_id, hit.span.message_index) for hit in hits}
            assert len(keys) == 5
            drawn.update(keys)
        assert len(drawn) == 30
        assert all(abs(n - 100) < 46 for n in drawn.values())


def test_random_parts_keep_to_the_selection_and_the_seed(workspace: Workspace, store: Store) -> None:
    store({1: [("user", "text", "a " * 500), ("assistant", "text", ""), ("assistant", "text", "  ")]})
    store({2: [("tool", "tool_result", f"result {n}") for n in range(9)]})
    with open_reader(workspace) as opened:
        assert count_parts(opened, Filters()) == 12
        assert count_parts(opened, Filters(kinds=["tool_result"], episode_ids=[2])) == 9
        hits = random_parts(opened, Filters(), 50, 3)
        assert len(hits) == 10  # all that have text
        assert random_parts(opened, Filters(), 50, 3) == hits
        assert random_parts(opened, Filters(), 4, 3) == hits[:4]
        assert random_parts(opened, Filters(), 50, 4) != hits
        assert {hit.kind for hit in random_parts(opened, Filters(kinds=["tool_result"]), 5, 0)} == {"tool_result"}
        (long,) = (hit for hit in hits if hit.span.episode_id == 1)
        assert long.snippet == ("a " * 500)[long.span.start : long.span.end]
        assert 100 < len(long.snippet) < 250
        assert random_parts(opened, Filters(episode_ids=[]), 5, 0) == []
