"""SWE-agent and mini-swe-agent trajectories: each quirk planted, and real ones by their known counts."""

import json
from pathlib import Path

import pytest
from investigate.ingest.format import Source
from investigate.ingest.formats.swe_agent import FORMAT
from investigate.store.errors import InputError

TRANSCRIPTS = Path(__file__).resolve().parents[3] / ".." / "shared" / "transcripts"


@pytest.fixture
def read(tmp_path):
    def write_and_read(value, name="django__django-1.traj"):
        path = tmp_path / name
        path.write_text(json.dumps(value, indent=1))
        assert FORMAT.sniff(path.read_bytes()[: 1 << 16], path) >= 0.7
        (episode,) = FORMAT.read(Source(path, str(path)))
        return episode

    return write_and_read


def said(content, **more):
    return {"role": "assistant", "content": content, "agent": "main"} | more


def step(action, observation, response, **more):
    known = {"action": action, "observation": observation, "response": response, "thought": response, "state": "{}"}
    return known | more


def shape(episode):
    return [(message.role, [part.kind for part in message.parts]) for message in episode.messages]


def test_function_calling(read):
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    config = {"agent": {"model": {"name": "claude-x", "temperature": 0.0}}, "problem_statement": {"id": "issue-7"}}
    episode = read(
        {
            "environment": "main",
            "trajectory": [step("ls", "a.py", "Look.", messages=[{"role": "system", "content": "copy"}])],
            "history": [
                {"role": "system", "content": "You fix bugs.", "agent": "main"},
                said("Look.", thought="Look.", action="ls", tool_calls=[call]),
                {"role": "tool", "content": [{"type": "text", "text": "OBSERVATION:\na.py"}], "tool_call_ids": ["c1"]},
            ],
            "info": {
                "exit_status": "submitted",
                "submission": "diff --git",
                "model_stats": {"api_calls": 1},
                "edited_files30": "a long file",
            },
            "replay_config": json.dumps(config),
        }
    )
    assert shape(episode) == [("system", ["text"]), ("assistant", ["text", "tool_call"]), ("tool", ["tool_result"])]
    made, seen = episode.messages[1].parts[1], episode.messages[2].parts[0]
    assert (made.tool_name, made.tool_call_id, made.text) == ("bash", "c1", '{"command": "ls"}')
    assert (seen.tool_name, seen.tool_call_id, seen.text) == ("bash", "c1", "OBSERVATION:\na.py")
    assert (episode.record, episode.model, episode.environment, episode.task_id) == ("0", "claude-x", "main", "issue-7")
    assert (episode.stop_reason, episode.success) == ("submitted", None)
    assert episode.metadata == {
        "submission": "diff --git",
        "model_stats": {"api_calls": 1},
        "sampling": {"temperature": 0.0},
    }


def test_demonstrations_are_left_out_and_counted(read):
    demo = {"role": "user", "content": "Here is a demonstration …", "agent": "primary", "is_demo": True}
    task = {"role": "user", "content": "Fix it.", "agent": "primary"}
    episode = read({"environment": "swe_main", "trajectory": [], "history": [demo, task], "info": {}})
    assert [message.parts[0].text for message in episode.messages] == ["Fix it."]
    assert episode.metadata == {"demo_messages": 1}
    assert episode.task_id == "django__django-1"
    assert episode.model is None


def test_a_step_that_the_history_lacks_is_taken_from_the_trajectory(read):
    history = [said("Look.", thought="Look.", action="ls"), {"role": "user", "content": "a.py"}]
    steps = [step("ls", "a.py", "Look."), step("submit", "diff", "Done, I submit.")]
    episode = read({"trajectory": steps, "history": history, "info": {}})
    assert shape(episode)[2:] == [("assistant", ["text", "tool_call"]), ("tool", ["tool_result"])]
    assert [part.text for part in episode.messages[2].parts] == ["Done, I submit.", "submit"]
    assert episode.messages[3].parts[0].text == "diff"


def test_a_step_missing_in_the_middle_is_counted(read):
    steps = [step("ls", "a.py", "Look."), step("cat", "x", "Read."), step("submit", "", "Done.")]
    history = [said("Look.", action="ls"), said("Done.", action="submit")]
    episode = read({"trajectory": steps, "history": history, "info": {}})
    assert len(episode.messages) == 2
    assert episode.metadata == {"steps_not_in_history": 1}


def test_a_file_without_a_history_is_read_from_its_steps(read):
    only = step("ls\n", "a.py", "Look.\n```\nls\n```", thought="Look.\n")
    episode = read({"environment": "swe_main", "trajectory": [only], "info": {}})
    assert shape(episode) == [("assistant", ["text"]), ("user", ["text"])]


def test_thought_and_action_stand_for_content_that_is_not_there(read):
    episode = read({"history": [said("", thought="I think.", action="ls")]})
    assert [(part.kind, part.text) for part in episode.messages[0].parts] == [("text", "I think."), ("tool_call", "ls")]


def test_several_agents_are_told_apart(read):
    history = [said("a"), {"role": "assistant", "content": "b", "agent": "reviewer"}]
    assert [message.agent for message in read({"history": history}).messages] == ["main", "reviewer"]
    assert [message.agent for message in read({"history": history[:1]}).messages] == [None]


def test_mini_swe_agent_in_both_shapes(read):
    messages = [
        {"role": "system", "content": "You can act."},
        {"role": "assistant", "content": "ok", "extra": {}},
        {"role": "exit", "content": "diff", "extra": {}},
    ]
    config = {"model": {"model_name": "qwen/x", "model_kwargs": {"temperature": 0.5}}}
    info = {"exit_status": "Submitted", "submission": "diff", "mini_version": "1.17.2", "config": config}
    whole = {"info": info, "messages": messages, "trajectory_format": "mini-swe-agent-1.1"}
    episode = read(whole, "flask-1.traj.json")
    assert [message.role for message in episode.messages] == ["system", "assistant"]
    assert (episode.model, episode.stop_reason, episode.task_id) == ("qwen/x", "Submitted", "flask-1")
    assert episode.metadata["sampling"] == {"temperature": 0.5}
    assert episode.metadata["trajectory_format"] == "mini-swe-agent-1.1"
    assert read(whole, "renamed.json").model == "qwen/x"
    bare = read(messages[:2], "flask-2.traj.json")
    assert [message.role for message in bare.messages] == ["system", "assistant"]
    assert bare.task_id == "flask-2"


def test_a_torn_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "x.traj"
    for content, reason in (('{"history": [{"role"', "not a whole trajectory"), ('{"a": 1}', "no history")):
        path.write_text(content)
        with pytest.raises(InputError, match=reason):
            list(FORMAT.read(Source(path, str(path))))


def test_a_history_that_cannot_be_used_is_skipped(tmp_path):
    path = tmp_path / "x.traj"
    path.write_text('{"history": [7]}')
    (skipped,) = FORMAT.read(Source(path, str(path)))
    assert (skipped.record, skipped.byte_offset) == ("0", 0)


def test_sniff_leaves_other_logs_alone():
    assert FORMAT.sniff(b'[{"role": "user", "content": "hi"}]', Path("chat.json")) == 0
    assert FORMAT.sniff(b'{"messages": [{"role": "user", "content": "hi"}]}', Path("chat.json")) == 0
    assert FORMAT.sniff(b'{"info": {}, "messages": []}', Path("chat.json")) == 0
    step_keys = b'{"action": "run", "observation": "", "response": "", "thought": ""}'
    assert FORMAT.sniff(b'{"trajectory": [' + step_keys + b"]}", Path("renamed.json")) == 0.8
    assert FORMAT.sniff(b'{"instance_id": "x", "history": [' + step_keys + b"]}", Path("output.jsonl")) == 0
    assert FORMAT.sniff(b"version https://git-lfs.github.com/spec/v1\n", Path("x.traj")) == 0


REAL = {"swe-agent": (22, 489, 534), "swe-smith": (3, 158, 231), "mini-swe-agent": (2, 28, 28)}


@pytest.mark.parametrize("folder", REAL)
def test_real_trajectories_have_their_known_counts(folder):
    paths = sorted([*(TRANSCRIPTS / folder).rglob("*.traj"), *(TRANSCRIPTS / folder).rglob("*.traj.json")])
    if not paths:
        pytest.skip(f"no {folder}")
    assert all(FORMAT.sniff(path.read_bytes()[: 1 << 16], path) >= 0.7 for path in paths)
    episodes = [item for path in paths for item in FORMAT.read(Source(path, str(path)))]
    n_messages = sum(len(episode.messages) for episode in episodes)
    n_parts = sum(len(message.parts) for episode in episodes for message in episode.messages)
    assert (len(episodes), n_messages, n_parts) == REAL[folder]


def test_the_real_file_whose_history_ends_early_is_whole():
    paths = list((TRANSCRIPTS / "swe-agent").rglob("6e44b9__sweagenttestrepo-1c2844.traj"))
    if not paths:
        pytest.skip("no swe-agent")
    (episode,) = FORMAT.read(Source(paths[0], str(paths[0])))
    calls = [part.text for message in episode.messages for part in message.parts if part.kind == "tool_call"]
    assert len(calls) == 5
    assert calls[-1] == "submit"
    assert episode.model == "gpt-4o"


def test_no_other_real_logs_are_claimed():
    files = [path for folder in ("openhands", "moatless-tree") for path in (TRANSCRIPTS / folder).rglob("*.json*")]
    if not files:
        pytest.skip("no real logs of other harnesses")
    assert [path for path in files if FORMAT.sniff(path.read_bytes()[: 1 << 16], path) > 0] == []
