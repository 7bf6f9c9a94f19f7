"""What model events show beyond the final messages: planted turns are found, repeats and judges are not."""

from __future__ import annotations

from typing import Any

import pytest
from investigate.ingest.inspect_events import further_messages, model_events, retry_messages, scorer_models
from investigate.ingest.inspect_messages import Attachments, to_message
from investigate.store.types import Message

USER = {"id": "u1", "role": "user", "content": "question"}
FINAL = {"id": "a2", "role": "assistant", "content": "final answer"}
DROPPED = {"id": "a1", "role": "assistant", "content": "first try"}
RESULT = {"id": "t1", "role": "tool", "tool_call_id": "c", "function": "bash", "content": "attachment://" + "0" * 32}


def model(message: dict[str, Any], given: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"event": "model", "input": given or [], "output": {"choices": [{"message": message}]}, **fields}


def span(name: str, kind: str, identity: str, parent: str | None = None) -> dict[str, Any]:
    return {"event": "span_begin", "id": identity, "parent_id": parent, "type": kind, "name": name}


def found(events: list[Any], pool: list[Any] | None = None) -> list[Message]:
    names: dict[str, str] = {}
    main = [(raw, to_message(raw, names)) for raw in (USER, FINAL)]
    return further_messages(model_events(events), pool or [], main, Attachments({"0" * 32: "long output"}), names)


def texts(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.parts[0].text) for message in messages]


def test_nothing_is_added_when_the_messages_are_all() -> None:
    assert found([model(FINAL, [USER])]) == []


def test_the_same_content_under_another_id_is_the_same_message() -> None:
    blocks = {**FINAL, "id": "other", "content": [{"type": "text", "text": "final answer"}]}
    assert found([model(blocks, [{**USER, "id": "pooled"}])]) == []


def test_turns_lost_to_compaction_come_back_in_order_and_once() -> None:
    events = [model(DROPPED, [USER]), model(FINAL, [USER, DROPPED, RESULT]), model(FINAL, [USER, DROPPED, RESULT])]
    messages = found(events)
    assert texts(messages) == [("assistant", "first try"), ("tool", "long output")]
    assert {message.branch for message in messages} == {"events"}


@pytest.mark.parametrize("references", [[[0, 1], [2, 4]], [[0, 4]]])
def test_pooled_inputs_are_looked_up(references: list[list[int]]) -> None:
    event = model(FINAL, input_refs=references)
    pool = [USER, {"role": "user", "content": "skipped"}, RESULT, DROPPED]
    expected = [("tool", "long output")]
    if references == [[0, 4]]:
        expected.insert(0, ("user", "skipped"))
    assert texts(found([event], pool)) == expected


def test_an_agent_names_its_branch() -> None:
    events = [
        span("solvers", "solvers", "s0"),
        span("planner", "agent", "s1", "s0"),
        span("bash", "tool", "s2", "s1"),
        model(DROPPED, span_id="s2"),
        model({"role": "assistant", "content": "target speaks"}, role="target"),
    ]
    assert [(m.branch, m.agent) for m in found(events)] == [("events:planner", "planner"), ("events:target", "target")]


@pytest.mark.parametrize(
    "events",
    [
        [span("scorers", "scorers", "s1"), span("x", "custom", "s2", "s1"), model(DROPPED, span_id="s2")],
        [span("grade", "scorer", "s1"), model(DROPPED)],
        [{"event": "step", "action": "begin", "type": "scorer"}, model(DROPPED)],
        [model(DROPPED, role="grader")],
        [model({"id": "e", "role": "assistant", "content": ""})],
    ],
)
def test_judges_and_empty_outputs_are_left_out(events: list[Any]) -> None:
    assert found(events) == []


def test_after_a_scoring_step_or_beside_a_scoring_span_the_model_is_heard_again() -> None:
    steps = [{"event": "step", "action": action, "type": "scorer"} for action in ("begin", "end")]
    assert texts(found([*steps, model(DROPPED)])) == [("assistant", "first try")]
    spans = [span("solver", "solver", "s0"), span("grade", "scorer", "s1", "s0")]
    assert texts(found([*spans, model(DROPPED, span_id="s0")])) == [("assistant", "first try")]


def test_events_nested_in_a_tool_event_are_read() -> None:
    assert texts(found([{"event": "tool", "events": [model(DROPPED)]}])) == [("assistant", "first try")]


def test_a_failed_attempt_is_a_branch_without_what_it_shares_and_each_turn_once() -> None:
    first = {"id": "r1", "role": "assistant", "content": "first plan"}
    told = {"id": "r2", "role": "tool", "tool_call_id": "c0", "function": "bash", "content": "attachment://" + "0" * 32}
    last = {"role": "assistant", "content": "second plan", "tool_calls": [{"id": "c9", "function": "ls"}]}
    tool = {"event": "tool", "id": "c9", "function": "ls", "result": "gone", "error": {"message": "disk"}}
    events = [model(first, [USER]), model(last, [USER, first, told]), tool, {"event": "error"}]
    judged = model({"role": "assistant", "content": "grade"}, [USER], role="grader")
    names: dict[str, str] = {}
    main = [(raw, to_message(raw, names)) for raw in (USER, FINAL)]
    texts = Attachments({"0" * 32: "long output"})
    got = retry_messages([{"message": "boom", "events": events}, {"events": [judged]}, {}], [], main, texts, names)
    assert [(m.branch, m.role, [part.text for part in m.parts]) for m in got] == [
        ("retry:1", "assistant", ["first plan"]),
        ("retry:1", "tool", ["long output"]),
        ("retry:1", "assistant", ["second plan", ""]),
        ("retry:1", "tool", ["gone", "disk"]),
    ]
    assert got[-1].parts[0].is_error is True


def test_a_retry_that_says_what_the_final_attempt_says_later_is_still_told() -> None:
    again = {"role": "assistant", "content": "final answer"}
    detour = {"role": "user", "content": "another question"}
    names: dict[str, str] = {}
    main = [(raw, to_message(raw, names)) for raw in (USER, FINAL)]
    got = retry_messages([{"events": [model(again, [USER, detour])]}], [], main, Attachments({}), names)
    assert texts(got) == [("user", "another question"), ("assistant", "final answer")]


def test_the_models_that_scorers_asked() -> None:
    spans = [span("scorers", "scorers", "s"), span("fact", "scorer", "f", "s"), span("inner", "agent", "i", "f")]
    events = [*spans, model(FINAL, span_id="f", model="m/one"), model(FINAL, span_id="i", model="m/two")]
    assert scorer_models(model_events([model(FINAL, model="m/solver"), *events])) == {"fact": {"m/one", "m/two"}}
    step = {"event": "step", "type": "scorer", "name": "qa"}
    old = [{**step, "action": "begin"}, model(FINAL, model="m"), {**step, "action": "end"}, model(FINAL, model="n")]
    assert scorer_models(model_events(old)) == {"qa": {"m"}}
