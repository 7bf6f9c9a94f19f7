"""A profile of planted episodes, every number of which is known."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from investigate.analysis.statistics import Rate
from investigate.analysis.text.profile import OPTIONAL_COLUMNS, Profile, make_profile
from investigate.ingest.stored import uid_of
from investigate.store.reader import open_reader
from investigate.store.shards import ShardRows
from investigate.store.types import Call, Episode, Message, Part
from investigate.store.workspace import create_workspace
from investigate.store.writer import Commit, open_writer

MakeProfile = Callable[..., Profile]


@pytest.fixture
def profile_of(tmp_path: Path) -> MakeProfile:
    """``profile_of([episode, …], where=None)``: their profile, after a trip through a workspace. Ids count from 1."""

    def make(episodes: Sequence[Episode], where: str | None = None) -> Profile:
        workspace = create_workspace(tmp_path / "w")
        rows = ShardRows()
        before: Counter[tuple[str, str]] = Counter()
        for number, episode in enumerate(episodes, start=1):
            digest = episode.digest or str(number)
            uid = uid_of(digest, before[episode.source, digest])
            before[episode.source, digest] += 1
            lengths = [len(part.text) for message in episode.messages for part in message.parts]
            rows.add_episode(
                replace(
                    episode, episode_id=number, uid=uid, record=str(number), digest=digest,
                    format=episode.format or "chat",
                    n_messages=len(episode.messages), n_parts=len(lengths), n_chars=sum(lengths),
                )
            )  # fmt: skip
        with open_writer(workspace) as writer:
            writer.commit(Commit(rows.write(workspace.root), [], next_episode_id=len(episodes) + 1))
            writer.settle()
        with open_reader(workspace) as reader:
            return make_profile(reader, where)

    return make


def episode(*messages: Message, **fields: Any) -> Episode:
    return Episode(**{"source": "log", "record": "", "digest": "", "messages": messages, **fields})


def says(role: str, text: str, **fields: Any) -> Message:
    return Message(role, (Part("text", text),), **fields)


def calls(name: str | None = "bash", **fields: Any) -> Message:
    return Message("assistant", (Part("tool_call", "{}", name, parse_error=fields.pop("parse_error", None)),), **fields)


def returns(text: str, is_error: bool | None = None, name: str | None = "bash") -> Message:
    return Message("tool", (Part("tool_result", text, name, is_error=is_error),))


ASKED, ANSWERED = says("user", "Do it."), says("assistant", "Done.")


def rows_of(profile: Profile, table: str, **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in profile.tables[table] if all(row[name] == value for name, value in wanted.items())]


def row_of(profile: Profile, table: str, **wanted: Any) -> dict[str, Any]:
    (row,) = rows_of(profile, table, **wanted)
    return row


def test_nothing_at_all(profile_of: MakeProfile) -> None:
    found = profile_of([])
    assert (found.n_episodes, found.n_folded) == (0, 0)
    assert all(not rows for rows in found.tables.values())


def test_duplicates_are_counted_by_what_made_them_and_folded_in_every_rate(profile_of: MakeProfile) -> None:
    found = profile_of([
        episode(ASKED, ANSWERED, digest="same", source="a", environment="e", identity="i", reward=1.0),
        episode(ASKED, ANSWERED, digest="other", source="a", environment="e", identity="i", reward=1.0),
        episode(ASKED, ANSWERED, digest="same", source="b", environment="e", reward=1.0),
        episode(ASKED, ANSWERED, source="c", environment="e", reward=0.0),
    ])  # fmt: skip
    assert (found.n_episodes, found.n_folded) == (2, 2)
    assert [(row["reason"], row["place"], row["n"], row["most_copied"]) for row in found.tables["duplicates"]] == [
        ("same bytes", "across sources", 1, 1),
        ("same identity", "within a source", 1, 1),
    ]
    reward = row_of(found, "rewards", environment="e")
    assert (reward["n"], reward["mean"]) == (2, 0.5)
    assert row_of(found, "faults", fault="error logged")["n"] == 2


def test_equal_samples_of_a_policy_all_count(profile_of: MakeProfile) -> None:
    """To fold them would say of one that has collapsed that it earns next to nothing."""
    collapsed = [episode(ASKED, ANSWERED, digest="same", source="a", environment="e", reward=1.0)] * 60
    others = [episode(ASKED, ANSWERED, source="a", environment="e", reward=0.0)] * 40
    found = profile_of([*collapsed, *others])
    assert (found.n_episodes, found.n_folded) == (100, 0)
    reward = row_of(found, "rewards", environment="e")
    assert (reward["n"], reward["mean"]) == (100, 0.6)


def test_a_copy_stands_for_an_original_that_where_leaves_out(profile_of: MakeProfile) -> None:
    found = profile_of(
        [
            episode(ASKED, ANSWERED, identity="i", model="small", reward=1.0),
            episode(ASKED, ANSWERED, ANSWERED, identity="i", model="large", reward=2.0),
            episode(ASKED, identity="i", model="small", reward=3.0),
            episode(ASKED, ANSWERED, identity="j", model="small", reward=4.0),
        ],
        where="model = 'small'",
    )
    # Of 1 and 3, copies of 2, the fuller one is counted.
    assert (found.n_episodes, found.n_folded) == (2, 1)
    assert row_of(found, "rewards", environment=None)["mean"] == 2.5
    (row,) = found.tables["duplicates"]
    assert (row["n"], row["most_copied"], row["other_model"], row["shorter"]) == (1, 1, 0, 1)


def test_copies_under_another_model_and_with_less_text_are_counted(profile_of: MakeProfile) -> None:
    found = profile_of([
        episode(ASKED, identity="i", model="a"), episode(ASKED, ANSWERED, identity="i", model="b"),
        episode(ASKED, ANSWERED, identity="i", model="b"), episode(ASKED, ANSWERED, identity="i"),
        episode(ASKED, ANSWERED, identity="j"), episode(ASKED, ANSWERED, identity="j"),
    ])  # fmt: skip
    (row,) = found.tables["duplicates"]
    assert (row["n"], row["originals"], row["other_model"], row["shorter"], row["most_copied"]) == (4, 2, 2, 1, 2)


def test_what_is_missing_by_format(profile_of: MakeProfile) -> None:
    found = profile_of([
        episode(ASKED, format="one", reward=1.0, scores={"x": 1}, calls=(Call(0),)),
        episode(ASKED, format="one", reward=None),
        episode(Message("assistant", (Part("reasoning", "hm"),)), format="two", environment="e"),
    ])  # fmt: skip

    def missing(column: str) -> dict[str | None, int]:
        return {row["format"]: row["missing"] for row in rows_of(found, "missing", column=column)}

    assert missing("reward") == {None: 2, "one": 1, "two": 1}
    assert missing("scores") == {None: 2, "one": 1, "two": 1}
    assert missing("environment") == {None: 2, "one": 2, "two": 0}
    assert missing("calls") == {None: 2, "one": 1, "two": 1}
    assert missing("reasoning") == {None: 2, "one": 2, "two": 0}
    assert row_of(found, "missing", column="reward", format="one")["share"] == 0.5
    assert {row["column"] for row in found.tables["missing"]} == {*OPTIONAL_COLUMNS, "calls", "reasoning"}


def test_composition_says_what_is_not_said(profile_of: MakeProfile) -> None:
    found = profile_of([episode(model="m")] * 3 + [episode(environment="(none)"), episode(environment="e")])
    assert [(row["value"], row["n"]) for row in rows_of(found, "composition", column="model")] == [("m", 3), (None, 2)]
    assert row_of(found, "composition", column="model", value="m")["distinct_values"] == 1


def test_names_with_who_gave_them(profile_of: MakeProfile) -> None:
    odd = 'with "quotes", a/slash and ~'
    found = profile_of([
        episode(scores={"correct": True, odd: 2}, provenance={"correct": "verifier", odd: "judge:m"}),
        episode(scores={"correct": False, odd: None}, provenance={"correct": "verifier"}, verdicts={"lied": "yes"}),
        episode(scores={"correct": "C"}, labels={"condition": {"deep": 1}}),
    ])  # fmt: skip
    correct = row_of(found, "names", name="correct")
    assert (correct["kind"], correct["n"], correct["mean"], correct["provenance"]) == ("scores", 3, 0.5, "verifier")
    strange = row_of(found, "names", name=odd)
    assert (strange["n"], strange["known"], strange["mean"], strange["provenance"]) == (2, 1, 2.0, "judge:m")
    assert row_of(found, "names", kind="verdicts")["name"] == "lied"
    assert row_of(found, "names", kind="labels")["mean"] is None


def test_truths_in_words_have_a_mean_and_other_words_are_told(profile_of: MakeProfile) -> None:
    found = profile_of([
        *[episode(verdicts={"guilty": word}) for word in ("YES", "no", "No", True)],
        *[episode(scores={"grade": grade}) for grade in ("C", "I", "I", "P", "N", 1)], episode(scores={"grade": None}),
    ])  # fmt: skip
    guilty = row_of(found, "names", name="guilty")
    assert (guilty["numbers"], guilty["known"], guilty["mean"], guilty["least"], guilty["most"]) == (4, 4, 0.5, 0, 1)
    grade = row_of(found, "names", name="grade")
    assert (grade["n"], grade["known"], grade["numbers"], grade["distinct_values"]) == (7, 6, 1, 5)
    assert grade["commonest"][0] == {"value": "I", "n": 2}
    assert len(grade["commonest"]) == 3


def test_lengths(profile_of: MakeProfile) -> None:
    found = profile_of([episode(says("user", "x" * n)) for n in (0, 1, 9, 10, 100)])
    characters = row_of(found, "lengths", length="characters")
    assert (characters["p0"], characters["p50"], characters["p100"], characters["mean"]) == (0, 9, 100, 24)
    bins = [(row["low"], round(row["high"], 2), row["n"]) for row in rows_of(found, "length_histogram")]
    of_characters = bins[: len(rows_of(found, "length_histogram", length="characters"))]
    assert [(round(low, 2), high, n) for low, high, n in of_characters] == [
        (0, 1, 1), (1, 1.78, 1), (5.62, 10, 1), (10, 17.78, 1), (100, 177.83, 1),
    ]  # fmt: skip


def test_no_reward_is_not_zero_and_success_has_wilsons_interval(profile_of: MakeProfile) -> None:
    found = profile_of(
        [episode(environment="e", reward=2.0, success=True, digest=f"s{i}") for i in range(3)]
        + [episode(environment="e", reward=1.0, success=False), episode(environment="e", reward=float("nan"))]
        + [episode(environment="e"), episode()]
    )
    row = row_of(found, "rewards", environment="e")
    assert (row["n"], row["unknown"], row["mean"], row["least"], row["most"]) == (4, 2, 1.75, 1.0, 2.0)
    assert (row["success_k"], row["success_n"], row["success_unknown"]) == (3, 4, 2)
    assert (row["success_low"], row["success_high"]) == pytest.approx(Rate(3, 4).interval)
    assert row_of(found, "rewards", environment=None)["unknown"] == 3
    assert not rows_of(found, "rewards", environment="(none)")
    assert [(row["low"], row["n"]) for row in found.tables["reward_histogram"]] == [(1.0, 1), (2.0, 3)]


def test_many_rewards_are_binned_without_a_gap(profile_of: MakeProfile) -> None:
    found = profile_of([episode(reward=float(i)) for i in range(30)] + [episode(reward=100.0)])
    bins = found.tables["reward_histogram"]
    assert [row["n"] for row in bins] == [5, 5, 5, 5, 5, 5, *[0] * 13, 1]
    assert [row["low"] for row in bins[1:]] == pytest.approx([row["high"] for row in bins[:-1]])


def test_groups_and_their_shared_rewards(profile_of: MakeProfile) -> None:
    found = profile_of([
        episode(environment="e", group_id=group, reward=reward)
        for group, reward in [("1", 0.0), ("1", 0.0), ("2", 0.0), ("2", 1.0), ("3", 1.0), ("4", None), ("4", 1.0)]
    ])  # fmt: skip
    row = row_of(found, "groups", environment="e")
    assert (row["groups"], row["rewarded"], row["all_equal"], row["largest"]) == (4, 2, 1, 2)


def test_steps_with_the_mix_of_environments(profile_of: MakeProfile) -> None:
    found = profile_of(
        [episode(training_step=1, reward=float(i % 2), success=i % 2 == 1, environment="a") for i in range(4)]
        + [episode(training_step=5, reward=1.0, environment="b"), episode(training_step=5, environment="b")]
        + [episode(reward=9.0)]
    )
    first, second = found.tables["steps"]
    assert (first["step"], first["last_step"], first["episodes"], first["n"], first["mean"]) == (1, 1, 4, 4, 0.5)
    assert (first["success_k"], first["success_n"]) == (2, 4)
    assert first["low"] < 0.5 < first["high"]
    assert (second["episodes"], second["n"], second["unknown"], second["success_n"]) == (2, 1, 1, 0)
    assert (first["mix"], second["mix"]) == pytest.approx((1 / 3, 2 / 3))


def test_many_steps_are_binned(profile_of: MakeProfile) -> None:
    found = profile_of([episode(training_step=step, reward=1.0) for step in range(100, 1100, 2)])
    rows = found.tables["steps"]
    assert len(rows) <= 40
    assert sum(row["episodes"] for row in rows) == 500
    assert (rows[0]["step"], rows[0]["last_step"] + 1) == (100, rows[1]["step"])


def test_reasoning_by_kind(profile_of: MakeProfile) -> None:
    def thinks(text: str, kind: str | None, **fields: Any) -> Message:
        return Message("assistant", (Part("reasoning", text, reasoning_kind=kind, location="content"),), **fields)

    found = profile_of([
        episode(thinks("abc", "raw"), thinks("abcde", "raw")), episode(thinks("", "encrypted")),
        episode(thinks("of the prompt", "raw", given=True)), episode(thinks("abc", None)),
    ])  # fmt: skip
    kinds = {row["kind"]: (row["episodes"], row["parts"], row["unreadable"]) for row in found.tables["reasoning"]}
    assert kinds == {"raw": (1, 2, 0), "encrypted": (1, 1, 1), "(unsaid)": (1, 1, 0)}
    assert row_of(found, "reasoning", kind="raw")["median_characters"] == 4


def test_a_tool_of_which_the_log_does_not_say_is_unknown_and_not_fine(profile_of: MakeProfile) -> None:
    found = profile_of([
        episode(ASKED, calls(), returns("x", True), calls(), returns("y", False), environment="e"),
        episode(ASKED, calls(), returns("z", None), environment="e"),
        episode(ASKED, calls("web", parse_error="bad"), returns("z", None, "web"), environment="f"),
        # A prompt's example: neither the call nor its failure is the model's.
        episode(ASKED, calls(given=True), returns("x", True), ANSWERED, environment="e"),
    ])  # fmt: skip
    bash = row_of(found, "tools", environment="e", tool="bash")
    assert (bash["calls"], bash["results"], bash["k"], bash["n"], bash["unknown"]) == (3, 3, 1, 2, 1)
    assert bash["share"] == 0.5
    web = row_of(found, "tools", environment="f", tool="web")
    assert (web["calls"], web["unparsable"], web["n"], web["unknown"], web["share"]) == (1, 1, 0, 1, None)
    assert row_of(found, "tools", environment=None, tool=None)["calls"] == 4
    assert row_of(found, "tools", environment="e", tool=None)["k"] == 1
    assert row_of(found, "tools", environment=None, tool="web")["unparsable"] == 1
    failed = row_of(found, "faults", fault="a tool failed")
    assert (failed["k"], failed["n"], failed["unknown"], failed["example"]) == (1, 1, 2, 1)


def test_a_result_in_several_parts_is_one_result(profile_of: MakeProfile) -> None:
    def answers(*parts: tuple[str, str | None, bool | None]) -> Message:
        return Message(
            "tool", tuple(Part("tool_result", text, "bash", call, is_error=bad) for text, call, bad in parts)
        )

    found = profile_of([
        # One call answered in two parts, one of which tells; two calls in one message; the second id used again.
        episode(ASKED, calls(), answers(("a", "1", None), ("exit 1", "1", True)), calls(), calls(),
                answers(("b", "2", False), ("c", "3", None)), calls(), answers(("d", "2", False))),
        # Without an id, the message is the result.
        episode(ASKED, calls(), answers(("e", None, False), ("exit 0", None, False)), ANSWERED),
        # Two parts of the one result that came are no two results: a call is still unanswered.
        episode(ASKED, calls(), calls(), answers(("f", "1", False), ("exit 0", "1", False)), ANSWERED),
        *[episode(ASKED, calls(), answers((str(i), "1", False), ("exit 0", "1", False)), ANSWERED) for i in range(3)],
    ])  # fmt: skip
    bash = row_of(found, "tools", environment=None, tool="bash")
    assert (bash["calls"], bash["results"], bash["k"], bash["n"], bash["unknown"]) == (10, 9, 1, 8, 1)
    failed = row_of(found, "faults", fault="a tool failed")
    assert (failed["k"], failed["n"], failed["unknown"]) == (1, 6, 0)
    unanswered = row_of(found, "faults", fault="tool call without a result")
    assert (unanswered["k"], unanswered["example"]) == (1, 3)
    assert not row_of(found, "faults", fault="same tool result three times or more")["k"]
    assert not found.tables["repeated"]


def test_tools_stand_in_the_order_of_their_calls(profile_of: MakeProfile) -> None:
    found = profile_of([episode(ASKED, calls("b"), calls("b"), *[calls("a"), returns("x", name="a")], ANSWERED)])
    assert [row["tool"] for row in found.tables["tools"] if row["environment"] is None] == [None, "b", "a"]


FAULTY = {
    "error logged": episode(ASKED, ANSWERED, error="boom"),
    "cut off at a token limit": episode(ASKED, ANSWERED, stop_reason="max_tokens"),
    "no message by the model": episode(ASKED, says("assistant", "put there", given=True)),
    "an empty message by the model": episode(ASKED, says("assistant", " \n"), ANSWERED),
    "ends on reasoning, no answer": episode(ASKED, Message("assistant", (Part("reasoning", "hm"), Part("text", "")))),
    "ends on a tool's or user's turn": episode(ASKED, ANSWERED, says("user", "And?")),
    "tool call that cannot be parsed": episode(ASKED, calls(parse_error="no JSON"), returns("x", False), ANSWERED),
    "tool call without a result": episode(ASKED, calls(), ANSWERED),
    "a tool failed": episode(ASKED, calls(), returns("x", True), ANSWERED),
    "a tool's result tells of a time-out": episode(ASKED, calls(), returns("Command timed out", False), ANSWERED),
    "same tool result three times or more": episode(ASKED, *[calls(), returns("same", False)] * 3, ANSWERED),
    "characters lost (U+FFFD)": episode(says("user", "a\ud800b"), ANSWERED),
}
SOUND = [
    episode(ASKED, ANSWERED, stop_reason="stop"),
    episode(ASKED, calls(), returns("x", False), calls(), returns("y", False), ANSWERED, stop_reason="end_turn"),
    # Encrypted reasoning before a call is no empty message; a call that ends an episode has no result to wait for.
    episode(ASKED, Message("assistant", (Part("reasoning", "", redacted=True), Part("tool_call", "{}", "bash")))),
    # What a branch ends on is not what the episode ends on.
    episode(ASKED, ANSWERED, says("user", "or this", branch="retry")),
    episode(ASKED, calls(), returns("set the timeouts of the service", False), ANSWERED, stop_reason="lengthy"),
]


def test_the_faults_planted_are_all_there() -> None:
    from investigate.analysis.text.conduct import _FAULTS

    assert list(FAULTY) == list(_FAULTS)


@pytest.mark.parametrize("planted", FAULTY)
def test_each_fault_is_found_and_no_other(profile_of: MakeProfile, planted: str) -> None:
    sound = [replace(one, environment="sound") for one in SOUND]
    found = profile_of([*sound, replace(FAULTY[planted], environment="broken")])
    signs = {row["fault"]: (row["k"], row["example"], row["most_in"]) for row in found.tables["faults"] if row["k"]}
    assert signs == {planted: (1, len(SOUND) + 1, "broken")}
    assert row_of(found, "faults_by_environment", fault=planted, environment="broken")["share"] == 1.0


def test_what_was_not_logged_is_unknown(profile_of: MakeProfile) -> None:
    found = profile_of([episode(ASKED, ANSWERED), episode(ASKED, ANSWERED, stop_reason="length")])
    cut = row_of(found, "faults", fault="cut off at a token limit")
    assert (cut["k"], cut["n"], cut["unknown"]) == (1, 1, 1)
    assert row_of(found, "faults", fault="a tool failed")["n"] == 0
    assert {row["stop_reason"]: row["truncated"] for row in found.tables["stops"]} == {None: None, "length": True}


def test_which_stop_reasons_are_truncation(profile_of: MakeProfile) -> None:
    cut = ["length", "max_tokens", "MAX_TOKENS", "model_length", "max_new_tokens", "exit_context", "token_limit",
           "truncated", "max-output-tokens"]  # fmt: skip
    whole = ["stop", "end_turn", "submitted", "max_turns", "lengthy", "content_filter"]
    found = profile_of([episode(ASKED, stop_reason=reason) for reason in (*cut, *whole)])
    assert {row["stop_reason"] for row in found.tables["stops"] if row["truncated"]} == {*cut}


def test_errors_of_one_kind_are_one_row(profile_of: MakeProfile) -> None:
    found = profile_of(
        [episode(error=f"Code {i}: gone\ntraceback {'x' * i}") for i in (7, 12)] + [episode(error="other")]
    )
    assert [(row["error"], row["n"], row["example"]) for row in found.tables["errors"]] == [
        ("Code #: gone", 2, 1),
        ("other", 1, 3),
    ]


def test_a_result_that_answers_everybody_alike(profile_of: MakeProfile) -> None:
    dead = [
        episode(
            ASKED, calls(), returns("bash: pip: command not found", True), says("assistant", str(i)), environment="e"
        )
        for i in range(4)
    ]
    live = [episode(ASKED, calls(), returns(f"result {i}"), ANSWERED, environment="e") for i in range(6)]
    (row,) = profile_of([*dead, *live]).tables["repeated"]
    assert (row["episodes"], row["of_episodes"], row["failed"], row["example"]) == (4, 10, True, 1)
    assert row["text"] == "bash: pip: command not found"


def test_where_narrows_every_table(profile_of: MakeProfile) -> None:
    episodes = [episode(ASKED, ANSWERED, environment=name, reward=1.0) for name in ("a", "a", "b")]
    found = profile_of(episodes, where="environment = 'a'")
    assert found.n_episodes == 2
    assert [row["environment"] for row in found.tables["rewards"]] == [None, "a"]
    assert {row["n"] for row in rows_of(found, "faults", fault="error logged")} == {2}
