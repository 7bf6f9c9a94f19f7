"""What happened in the episodes of a profile: reasoning, tools, how they ended, and signs of a broken environment.

Takes a population, gives tables of plain rows. A sign is no verdict: it says where to look, with one episode to look
at, before anything is held against the model. What the log does not say is unknown, never fine. Texts and calls that
stood in the prompt (``given``) are not counted. A tool's result is one however many parts it is logged in. Knows no
screen.
"""

from __future__ import annotations

from typing import Any, Final

from .population import Population, clustered, estimate

Rows = list[dict[str, Any]]

TRUNCATED: Final = (
    r"(^|[_\s-])(length|max[_-]?((new|output|completion)[_-]?)?tokens?|token[_-]?limit|context|truncat\w*)($|[_\s-])"
)
"""Stop reasons that mean: cut off at a limit of tokens."""

_TIMED_OUT: Final = r"\b(timed[ -]?out|timeout(ed|expired|error)?|time limit exceeded|deadline exceeded)\b"
_EDGE_CHARS: Final = 400
_TOP_ROWS: Final = 15

# ``own``: from the first message by the model on, and not put into its mouth. What a prompt holds (a tool's results in
# an example, a prefilled answer) is neither the model's doing nor an answer to it.
_PARTS: Final = """
    SELECT p.*, coalesce(p.message_index >= o.first AND NOT coalesce(p.given, false), false) AS own FROM parts p
    LEFT JOIN (SELECT episode_id, min(message_index) AS first FROM parts
               WHERE role = 'assistant' AND NOT coalesce(given, false) GROUP BY 1) o ON o.episode_id = p.episode_id
    WHERE p.episode_id IN (SELECT episode_id FROM e)"""
_OWN_PARTS: Final = f"SELECT * FROM ({_PARTS}) WHERE own"

# A message may answer several calls, each in several parts; it failed if one of them says so. Beyond a message ids tell
# nothing: logs give the same one to several calls of an episode.
_RESULTS: Final = f"""
    SELECT episode_id, message_index, tool_call_id, tool_name, min(part_index) AS part_index,
           bool_or(is_error) AS is_error, hash(list(hash(text) ORDER BY part_index)) AS whole
    FROM ({_OWN_PARTS}) WHERE kind = 'tool_result'
    GROUP BY episode_id, message_index, tool_call_id, tool_name"""

# NULL: not of this episode. NaN: the log does not say.
_FAULTS: Final = {
    "error logged": "(error IS NOT NULL)::INT",
    "cut off at a token limit": (
        "CASE WHEN stop_reason IS NULL THEN 'nan'::DOUBLE "
        f"ELSE regexp_matches(stop_reason, '{TRUNCATED}', 'i')::INT END"
    ),
    "no message by the model": "(n_model IS NULL OR n_model = 0)::INT",
    "an empty message by the model": "CASE WHEN n_model > 0 THEN (n_empty > 0)::INT END",
    "ends on reasoning, no answer": "CASE WHEN n_model > 0 THEN (ends = 'reasoning')::INT END",
    "ends on a tool's or user's turn": "CASE WHEN n_model > 0 THEN (ends = 'other')::INT END",
    "tool call that cannot be parsed": "CASE WHEN n_calls > 0 THEN (n_unparsable > 0)::INT END",
    "tool call without a result": (
        "CASE WHEN n_calls_before > 0 THEN (coalesce(n_results, 0) < n_calls_before)::INT END"
    ),
    "a tool failed": (
        "CASE WHEN n_results > 0 THEN CASE WHEN n_failed > 0 THEN 1 WHEN n_unsaid > 0 THEN 'nan'::DOUBLE ELSE 0 END END"
    ),
    "a tool's result tells of a time-out": "CASE WHEN n_results > 0 THEN (n_timed_out > 0)::INT END",
    "same tool result three times or more": "CASE WHEN n_results > 0 THEN (most_repeated >= 3)::INT END",
    "characters lost (U+FFFD)": "(coalesce(n_lost, 0) > 0)::INT",
}


def _facts() -> dict[str, str]:
    """Relations: messages, results and, over them, one row of facts per episode. Each reads the texts once."""
    timed_out = (
        f"regexp_matches(left(text, {_EDGE_CHARS}), '{_TIMED_OUT}', 'i') OR "
        f"regexp_matches(right(text, {_EDGE_CHARS}), '{_TIMED_OUT}', 'i')"
    )
    return {
        "m": f"""
            SELECT episode_id, message_index, any_value(role) AS role, any_value(branch) AS branch,
                   any_value(own) AS own,
                   bool_or(kind IN ('tool_call', 'media') OR (kind <> 'reasoning' AND regexp_matches(text, '\\S')))
                       AS has_answer,
                   bool_or(kind = 'reasoning' AND (redacted OR regexp_matches(text, '\\S'))) AS has_reasoning,
                   count(*) FILTER (own AND kind = 'tool_call') AS calls, count(parse_error) FILTER (own) AS unparsable,
                   count(*) FILTER (own AND kind = 'tool_result' AND ({timed_out})) AS timed_out,
                   count(*) FILTER (n_replaced > 0 OR contains(text, chr(65533))) AS lost
            FROM ({_PARTS}) GROUP BY episode_id, message_index""",
        "l": "SELECT episode_id, max(message_index) AS last FROM m WHERE branch IS NULL GROUP BY 1",
        "f": """
            SELECT m.episode_id, count(*) FILTER (own AND role = 'assistant') AS n_model,
                   count(*) FILTER (own AND role = 'assistant' AND NOT has_answer AND NOT has_reasoning) AS n_empty,
                   any_value(CASE WHEN role <> 'assistant' THEN 'other' WHEN has_answer THEN 'answer'
                                  WHEN has_reasoning THEN 'reasoning' ELSE 'nothing' END)
                       FILTER (message_index = last) AS ends,
                   sum(calls) AS n_calls, sum(calls) FILTER (message_index < last) AS n_calls_before,
                   sum(unparsable) AS n_unparsable, sum(timed_out) AS n_timed_out, sum(lost) AS n_lost
            FROM m LEFT JOIN l ON l.episode_id = m.episode_id GROUP BY m.episode_id""",
        "r": f"""
            SELECT episode_id, sum(n) AS n_results, sum(failed) AS n_failed, sum(unsaid) AS n_unsaid,
                   max(n) AS most_repeated
            FROM (SELECT episode_id, count(*) AS n, count(*) FILTER (is_error) AS failed,
                         count(*) FILTER (is_error IS NULL) AS unsaid
                  FROM ({_RESULTS}) GROUP BY episode_id, tool_name, whole) GROUP BY episode_id""",
        "x": "SELECT e.*, f.* EXCLUDE (episode_id), r.* EXCLUDE (episode_id) FROM e "
        "LEFT JOIN f ON f.episode_id = e.episode_id LEFT JOIN r ON r.episode_id = e.episode_id",
    }


def fault_tables(of: Population) -> tuple[Rows, Rows]:
    """Signs of a broken environment: over all, with the environment that has most; and by environment."""
    found = of.rows(clustered("x", ["environment"], _FAULTS, totals=True), **_facts())
    over_all = [row for row in found if row["environment"] is None and row["error logged.n"]]
    single = [row for row in found if row["environment"] is not None]
    by_environment = [
        {"fault": name, "environment": row["environment"], **estimate(row, name).as_share()}
        | {"example": row[f"{name}.example"]}
        for name in _FAULTS
        for row in sorted(single, key=lambda row: -row[f"{name}.total"])
        if row[f"{name}.n"]
    ]
    rows = []
    for row in over_all:
        for name in _FAULTS:
            worst = next((one for one in by_environment if one["fault"] == name and one["k"]), None)
            most_in = {"most_in": worst["environment"] if worst else None, "most_in_share": worst and worst["share"]}
            rows.append({"fault": name, **estimate(row, name).as_share(), "example": row[f"{name}.example"], **most_in})
    return rows, by_environment


def reasoning_table(of: Population) -> Rows:
    """Where reasoning is, of what kind, and how much of it can be read."""
    return of.rows(f"""
        SELECT format, coalesce(reasoning_kind, '(unsaid)') AS kind, coalesce(location, '') AS location,
               count(DISTINCT episode_id) AS episodes, count(*) AS parts,
               count(*) FILTER (redacted OR reasoning_kind = 'encrypted' OR text = '') AS unreadable,
               median(length(text)) AS median_characters
        FROM ({_OWN_PARTS}) JOIN (SELECT episode_id, format FROM e) USING (episode_id)
        WHERE kind = 'reasoning' GROUP BY ALL ORDER BY parts DESC, format, kind, location""")


def tool_table(of: Population) -> Rows:
    """Calls and failures by environment and tool, by environment (tool NULL), by tool (environment NULL) and over all.

    ``unknown`` results are those of which the log does not say whether the tool failed: they are in no rate.
    """
    relations = {
        "p": f"""
            SELECT e.environment, e.cluster, e.episode_id, coalesce(tool_name, '(unnamed)') AS tool, kind,
                   CASE WHEN kind = 'tool_result'
                        THEN CASE WHEN is_error IS NULL THEN 'nan'::DOUBLE ELSE is_error::INT END END AS failed,
                   CASE WHEN kind = 'tool_call' THEN (parse_error IS NOT NULL)::INT END AS unparsable
            FROM (SELECT episode_id, tool_name, kind, NULL AS is_error, parse_error FROM ({_OWN_PARTS})
                  WHERE kind = 'tool_call'
                  UNION ALL SELECT episode_id, tool_name, 'tool_result', is_error, NULL FROM ({_RESULTS}))
            JOIN e USING (episode_id)"""
    }
    rows = []
    values = {"failed": "failed", "unparsable": "unparsable"}
    for keys, totals in ((["environment", "tool"], True), (["environment"], False), (["tool"], False)):
        for row in of.rows(clustered("p", keys, values, totals), **relations):
            failed, unparsable = estimate(row, "failed"), estimate(row, "unparsable")
            if not failed.n + failed.unknown + unparsable.n:
                continue
            counts = {"calls": unparsable.n, "unparsable": round(unparsable.total)}
            results = {"results": failed.n + failed.unknown, **failed.as_share(), "example": row["failed.example"]}
            rows.append({"environment": row.get("environment"), "tool": row.get("tool"), **counts, **results})
    return sorted(rows, key=lambda row: (-row["calls"], -row["results"], row["environment"] or "", row["tool"] or ""))


def stop_table(of: Population) -> Rows:
    """Why episodes stopped; ``truncated`` where the reason means a limit of tokens."""
    return of.rows(f"""
        SELECT stop_reason, regexp_matches(stop_reason, '{TRUNCATED}', 'i') AS truncated, count(*) AS n,
               count(*) / sum(count(*)) OVER () AS share, min(episode_id) AS example
        FROM e GROUP BY stop_reason ORDER BY n DESC, stop_reason""")


def error_table(of: Population) -> Rows:
    """Kinds of logged error: the first line, numbers as #."""
    return of.rows(f"""
        SELECT left(regexp_replace(split_part(trim(error), chr(10), 1), '[0-9]+', '#', 'g'), 120) AS error,
               count(*) AS n, count(DISTINCT environment) AS environments, min(episode_id) AS example
        FROM e WHERE error IS NOT NULL GROUP BY 1 ORDER BY n DESC, 1 LIMIT {_TOP_ROWS}""")


def repeated_table(of: Population) -> Rows:
    """Tool results that are equal in many episodes: of a tool that works, few are. A missing package or a dead service
    answers everybody alike."""
    # The texts are fetched of those that are shown: to carry them all through the grouping would fill the memory.
    return of.rows(
        """SELECT s.* EXCLUDE (place), left(p.text, 160) AS text FROM s JOIN parts p
           ON p.episode_id = s.place.episode_id AND p.message_index = s.place.message_index
              AND p.part_index = s.place.part_index
           ORDER BY episodes DESC, results DESC, environment, tool, example""",
        s=f"""
            SELECT environment, tool, count(DISTINCT episode_id) AS episodes, any_value(of_environment) AS of_episodes,
                   count(*) AS results, bool_or(is_error) AS failed, min(episode_id) AS example,
                   min({{'episode_id': episode_id, 'message_index': message_index, 'part_index': part_index}}) AS place
            FROM (SELECT environment, coalesce(tool_name, '(unnamed)') AS tool, whole, is_error, episode_id,
                         message_index, part_index
                  FROM ({_RESULTS}) JOIN (SELECT episode_id, environment FROM e) USING (episode_id))
            JOIN (SELECT environment, count(*) AS of_environment FROM e GROUP BY 1) USING (environment)
            GROUP BY environment, tool, whole HAVING episodes >= 3
            ORDER BY episodes DESC, results DESC, environment, tool, example LIMIT {_TOP_ROWS}""",
    )
