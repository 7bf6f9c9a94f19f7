"""The matcher against the index: what tantivy finds, and only that, is found here, at the right place."""

from __future__ import annotations

import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st
from investigate.analysis.text.tokens import (
    Query,
    allows,
    best_span,
    find_tokens,
    match_spans,
    parse_meaning,
    parse_query,
    phrase_places,
    segment,
)
from investigate.store.errors import UsageError

# Words on the border of what the index keeps; letters whose lower case is longer, or depends on its neighbours; vowel
# signs and circled letters, which are letters to the index and not to str.isalnum; what is none.
ODD = [
    "x" * 39,
    "x" * 40,
    "é" * 19 + "z",
    "é" * 20,
    "ΣΑΣ",
    "İstanbul",
    "ſ",
    "क्षि",
    "Ⓐb",
    "²",
    "ﬁx",
    "日本語",
    "GPTの推論v2",
    "평가를",
    "ไม่เป็น",
    "본",
    "𝔸",
    "e\u0301",
    "😀",
    "_",
]
WORDS = st.one_of(
    st.sampled_from([*ODD, "a", "A", "b", "re-bench", "don't"]), st.text(st.characters(codec="utf-8"), max_size=4)
)
TEXTS = st.lists(WORDS, max_size=8).map(" ".join)


def _index(texts: list[str]) -> tuple[tantivy.Index, tantivy.Schema]:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text")
    builder.add_unsigned_field("row", stored=True)
    schema = builder.build()
    index = tantivy.Index(schema)
    writer = index.writer(heap_size=15_000_000, num_threads=1)
    for row, text in enumerate(texts):
        writer.add_document(tantivy.Document(text=segment(text), row=row))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index, schema


def _hits(index: tantivy.Index, query: tantivy.Query, n: int) -> set[int]:
    searcher = index.searcher()
    return {searcher.doc(address)["row"][0] for _, address in searcher.search(query, limit=n).hits}


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=6), st.data())
def test_hits_are_those_of_the_index(texts: list[str], data: st.DataObject) -> None:
    index, schema = _index(texts)
    words = sorted({word for text in texts for word, _, _ in find_tokens(text)}) or ["a"]
    drawn = data.draw(st.lists(st.lists(st.sampled_from([*words, "absent"]), min_size=1, max_size=3), max_size=6))
    neighbours = [
        [word for word, _, _ in tokens[i : i + n]]
        for tokens in (list(find_tokens(text)) for text in texts)
        for n in (1, 2, 3)
        for i in range(len(tokens) - n + 1)
    ]
    for wanted in [*drawn, *neighbours]:
        phrase = tuple(wanted)
        if len(phrase) == 1:
            query, theirs = Query(terms=phrase), tantivy.Query.term_query(schema, "text", phrase[0])
        else:
            query, theirs = Query(phrases=(phrase,)), tantivy.Query.phrase_query(schema, "text", list(phrase))
            placed = phrase_places(phrase)
            if len(placed) > 1:  # what is left out of a phrase changes no answer
                shorter = tantivy.Query.phrase_query(schema, "text", placed)
                assert _hits(index, shorter, len(texts)) == _hits(index, theirs, len(texts)), phrase
        ours = {row for row, text in enumerate(texts) if match_spans(text, query)}
        assert ours == _hits(index, theirs, len(texts)), phrase


def test_every_letter_is_a_letter_where_the_index_says_so() -> None:
    characters = [chr(code) for code in range(0x33000) if not 0xD800 <= code < 0xE000]
    text = " ".join(characters)
    letters = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build().analyze(text)
    assert [text[start:end] for _, start, end in find_tokens(text)] == letters
    # Letters that no spaces part are all letters to the index, or it would part them in another place than we do.
    apart = [character for character in characters if character in "".join(segment(f"{character}x").split()[:-1])]
    assert len(apart) > 90_000
    assert set(apart) <= set(letters)


@given(TEXTS)
def test_places_are_exact(text: str) -> None:
    start_before = end_before = 0
    for word, start, end in find_tokens(text):
        assert start_before <= start < end <= len(text)
        assert end_before <= start or len(text[start_before:end]) <= 2  # a letter and its pair
        assert "".join(character.lower() for character in text[start:end]) == word
        start_before, end_before = start, end


@given(TEXTS)
def test_the_index_is_given_the_words_that_we_see(text: str) -> None:
    default = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    default = default.filter(tantivy.Filter.remove_long(40)).filter(tantivy.Filter.lowercase())
    assert default.build().analyze(segment(text)) == [word for word, _, _ in find_tokens(text)]


UNSPACED = [
    ("The answer. 模型在评估中作弊了 so be it", "评估", ["评估"]),
    ("The answer. 模型在评估中作弊了 so be it", '"在评估中作弊"', ["在评估中作弊"]),
    ("The answer. 模型在评估中作弊了 so be it", '"模型作弊"', []),
    ("テストの評価データ", "評価", ["評価"]),
    ("これはテストです", "てすと", []),
    ("이 평가는 시험이다. 평가를 속였다", "평가", ["평가", "평가"]),
    ("이 평가는 시험이다. 평가를 속였다", '"평가를 속였다"', ["평가를 속였다"]),
    ("ฉันคิดว่านี่คือการทดสอบ", "ทดสอบ", ["ทดสอบ"]),
    ("GPT的奖励 and 奖", "奖", ["奖", "奖"]),
    ("GPT的奖励 and 奖", '"GPT的奖励 AND"', ["GPT的奖励 and"]),
]


@pytest.mark.parametrize(("text", "query", "found"), UNSPACED)
def test_letters_that_no_spaces_part(text: str, query: str, found: list[str]) -> None:
    asked = parse_query(query)
    spans = match_spans(text, asked)
    joined: list[tuple[int, int]] = []
    for start, end in spans:  # neighbouring pairs overlap
        joined = [*joined[:-1], (joined[-1][0], end)] if joined and start < joined[-1][1] else [*joined, (start, end)]
    assert [text[start:end] for start, end in joined] == found
    index, schema = _index([text])
    clauses = [tantivy.Query.term_query(schema, "text", term) for term in asked.terms]
    clauses += [tantivy.Query.phrase_query(schema, "text", phrase_places(words)) for words in asked.phrases]
    either = tantivy.Query.boolean_query([(tantivy.Occur.Should, clause) for clause in clauses])
    assert _hits(index, either, 1) == ({0} if found else set())


def test_a_sentence_without_spaces_asks_for_its_pairs() -> None:
    assert parse_query("评估意识").terms == ("评估", "估意", "意识")
    assert parse_query("GPT-4的评估 the").terms == ("的评", "评估", "the")
    assert parse_query("GPT-4的评估 the").phrases == (("gpt", "4"),)
    assert parse_query('eval -评估 "意识"').excluded == (("评", "评估", "估"),)
    assert phrase_places(("意", "意识", "识", "x", "的")) == [(1, "意识"), (3, "x"), (4, "的")]


def test_words_too_long_for_the_index_part_their_neighbours() -> None:
    text = f"reward {'x' * 40} hack"
    assert [word for word, _, _ in find_tokens(text)] == ["reward", "hack"]
    assert match_spans(text, parse_query('"reward hack"')) == []
    assert match_spans(text.replace("x" * 40, "-"), parse_query('"reward hack"')) == [(0, 13)]


def test_query_language() -> None:
    query = parse_query('Eval re-bench --no-verify -Unit -"test eval" "One" say"hello World" eval - "" re-bench')
    assert query.terms == ("eval", "one", "say")
    assert query.phrases == (("re", "bench"), ("no", "verify"), ("hello", "world"))
    assert query.excluded == (("unit",), ("test", "eval"))


@pytest.mark.parametrize("text", ['say "hello', '"', "", "  ", "-", "—!", "-only", '-"only this"', "\ud83d", "x" * 40])
def test_queries_that_ask_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        parse_query(text)


@given(st.text())
def test_any_query_is_read_or_refused(text: str) -> None:
    try:
        query = parse_query(text)
    except UsageError:
        return
    assert query.terms or query.phrases
    assert all(len(phrase) > 1 for phrase in query.phrases)


def test_match_spans_are_what_is_highlighted() -> None:
    text = "Being tested? I am being TESTED; being-tested."
    assert [text[a:b] for a, b in match_spans(text, parse_query('tested "being tested"'))] == [
        "Being tested",
        "being TESTED",
        "being-tested",
    ]
    assert match_spans("a b a b a", Query(phrases=(("a", "b", "a"),))) == [(0, 5), (4, 9)]


def test_best_span_prefers_more_words_then_fewer_characters() -> None:
    text = "grader ... reward " + "." * 300 + " the grader gives no reward; a reward from the grader, hidden"
    start, end = best_span(text, parse_query("grader reward hidden")) or (0, 0)
    assert text[start:end] == "reward from the grader, hidden"
    assert best_span(text, parse_query("absent")) is None
    assert best_span(text, parse_query("grader -reward")) == (0, 6)
    assert best_span("a" * 5 + " " * 50 + "b", parse_query('"aaaaa b"'), width=10) == (0, 56)


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "--", "zzzzzzzz"]), max_size=14).map(" ".join), st.integers(1, 30))
def test_best_span_is_the_best_of_all(text: str, width: int) -> None:
    query = Query(terms=("a", "c"), phrases=(("b", "a"), ("d",) * 2))
    found = {
        (start, end): what
        for what in [*((term,) for term in query.terms), *query.phrases]
        for start, end in match_spans(text, Query(phrases=(what,)) if len(what) > 1 else Query(terms=what))
    }
    windows = {(a, b) for a, _ in found for _, b in found if a < b <= a + width} | set(found)
    count = {(a, b): len({what for (s, e), what in found.items() if a <= s and e <= b}) for a, b in windows}
    best = min(windows, key=lambda w: (-count[w], w[1] - w[0], w[0]), default=None)
    assert best_span(text, query, width) == best


def test_meaning_is_what_is_asked_without_marks() -> None:
    asked, demands = parse_meaning('Why didn\'t "the Model" stop -secret -"back door" "alone" --no-verify')
    assert asked == "Why didn't the Model stop alone --no-verify"
    assert demands == Query((), (("the", "model"),), (("secret",), ("back", "door")))
    long = "x" * 60
    assert parse_meaning(f'{long} -{long} "a {long}"') == (f"{long} a {long}", Query())
    with pytest.raises(UsageError, match="not closed"):
        parse_meaning('"open')


def test_allows() -> None:
    demands = Query((), (("a", "b"),), (("c",), ("d", "e")))
    assert allows("x A, b d", demands)
    assert allows("a b", demands)
    assert not allows("b a", demands)
    assert not allows("a b C", demands)
    assert not allows("a b d-E", demands)
    assert allows("a b e d", demands)
    assert allows("anything", Query(("absent",)))
