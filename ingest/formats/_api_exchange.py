"""One request to an API and what came back, however a log lays the two out.

    {"request": {…}, "response": {…}}                                    also {"body": {…}} in either, also as a string
    {"custom_id": "row-7", "response": {"status_code": 200, "body": {…}}, "error": null}         OpenAI's batches
    {"custom_id": "row-7", "result": {"type": "succeeded", "message": {…}}}                      Anthropic's batches
    {…}                                                                  the response alone

Takes a row and what a response looks like, gives an ``Exchange``; and an ``Episode`` with all facts but the messages.
Knows no API. A line of a batch's output has no prompt: it is looked up by ``custom_id`` in the batch's input, where
that lies in the same folder. Two inputs that say different things under one id are no answer; ``metadata.notes`` then
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ...store.types import Episode
from ..facts import as_number, storable
from ..format import Source, digest_of, loads
from ._chat_rows import first_row, with_facts

_HEAD_BYTES: Final = 1 << 16
_SENT: Final = ("body", "params")
_AROUND: Final = frozenset(("custom_id", "request", "response", "result"))
"""Keys of a row that holds a request or its answer."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """``response`` is empty where the request failed: ``error`` then says why."""

    request: dict[str, Any]
    response: dict[str, Any]
    beside: dict[str, Any]
    """What the row has beside the two; all of it where the row is the response itself."""
    envelope: dict[str, Any]
    """What the response was wrapped in: a status code, a request id."""
    is_row: bool = False
    """The row is the response itself."""
    error: str | None = None
    note: str | None = None


class SentRequests:
    """The requests of the batch inputs beside a source, found again by ``custom_id``. Holds places, not requests."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._places: dict[str, tuple[Path, int, str] | None] | None = None

    def find(self, custom_id: Any) -> tuple[dict[str, Any], str | None]:
        """``(request, note)``; no request where there is none, or several that differ."""
        if not isinstance(custom_id, str):
            return {}, None
        self._places = self._index() if self._places is None else self._places
        if custom_id not in self._places:
            return {}, "the prompt is not in the record; the batch's input is not beside it"
        place = self._places[custom_id]
        if place is None:
            return {}, f"the prompt is left out: several batch inputs here have the id {custom_id}"
        path, offset, _ = place
        with path.open("rb") as file:
            file.seek(offset)
            return _sent(loads(file.readline())) or {}, None

    def _index(self) -> dict[str, tuple[Path, int, str] | None]:
        places: dict[str, tuple[Path, int, str] | None] = {}
        own = {self._source.path, self._source.original}
        for path in sorted(self._source.folder.glob("*.jsonl")):
            if path not in own and path.is_file() and _is_input(path):
                _add_places(places, path)
        return places


def _is_input(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            row = first_row(file.read(_HEAD_BYTES))
    except OSError:
        return False
    return row is not None and "custom_id" in row and _sent(row) is not None


def _add_places(places: dict[str, tuple[Path, int, str] | None], path: Path) -> None:
    offset = 0
    with path.open("rb") as file:
        for line in file:
            try:
                row = loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict) and isinstance(row.get("custom_id"), str) and _sent(row) is not None:
                name, digest = row["custom_id"], digest_of(line.strip())
                before = places.setdefault(name, (path, offset, digest))
                if before is not None and before[2] != digest:
                    places[name] = None
            offset += len(line)


def _sent(row: dict[str, Any]) -> dict[str, Any] | None:
    return next((row[name] for name in _SENT if isinstance(row.get(name), dict)), None)


def exchange_of(
    row: dict[str, Any], is_response: Callable[[dict[str, Any]], bool], sent: SentRequests | None = None
) -> Exchange | None:
    """The exchange that a row is; None where it is none. Without ``sent`` nothing is looked up."""
    note = None
    if is_response(row):
        return Exchange({}, row, row, {}, is_row=True)
    if row.keys().isdisjoint(_AROUND):
        return None
    wrapper = row.get("response", row.get("result"))
    response = body_of(wrapper)
    request = body_of(row.get("request")) or {}
    if not request and sent is not None and "custom_id" in row:
        request, note = sent.find(row["custom_id"])
    beside = {key: value for key, value in row.items() if key not in ("request", "response", "result")}
    if response is not None and is_response(response):
        around = wrapper if isinstance(wrapper, dict) and wrapper is not response else {}
        envelope = {key: value for key, value in around.items() if value is not response and key != "body"}
        return Exchange(request, response, beside, envelope, note=note)
    if ("custom_id" in row or "request" in row) and not row.keys().isdisjoint(("response", "result", "error")):
        error = _error_of(row.get("error")) or _error_of(response) or _error_of(wrapper)
        beside.pop("error", None)
        return Exchange(request, {}, beside, {}, error=error or "there was no answer", note=note)
    return None


def exchange_facts(
    blank: Episode, exchange: Exchange, of_path: dict[str, Any], read: Collection[str], sent: Collection[str]
) -> Episode:
    """The episode with everything but messages and calls. ``read`` and ``sent`` are the keys of the response and of
    the request that the caller turns into those; the rest is facts and metadata."""
    request, response = exchange.request, exchange.response
    model = response.get("model") or request.get("model")
    settings = {
        key: storable(value)
        for key, value in request.items()
        if key not in sent and not (key == "model" and value == model)
    }
    known = {*read, "id", "object", "created", "created_at", "model", "error"}
    outer = {key: value for key, value in exchange.beside.items() if not (exchange.is_row and key in known)}
    if "custom_id" in outer and "task_id" not in outer:
        outer["task_id"] = outer.pop("custom_id")
    started_at = when(response.get("created", response.get("created_at")))
    error = exchange.error or _error_of(response.get("error"))
    facts = with_facts(blank, outer, of_path, model=model, started_at=started_at, error=error)
    metadata = facts.metadata | ({"request": settings} if settings else {}) | storable(exchange.envelope)
    if not exchange.is_row:
        rest = {key: value for key, value in response.items() if key not in known and value is not None}
        metadata |= storable(rest)
    if response.get("id") is not None:
        metadata["response_id"] = response["id"]
    if exchange.note:
        metadata["notes"] = [exchange.note]
    return replace(facts, metadata=metadata)


def body_of(value: Any) -> dict[str, Any] | None:
    """A request or a response: the object, or what it is wrapped in; proxies log bodies as strings of JSON."""
    for name in ("body", "message"):
        if isinstance(value, dict) and isinstance(value.get(name), dict | str) and "role" not in value:
            inner = _parsed(value[name])
            value = inner if isinstance(inner, dict) else value
    value = _parsed(value)
    return value if isinstance(value, dict) else None


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return loads(value)
        except ValueError:
            return value
    return value


def _error_of(value: Any) -> str | None:
    """What an error says, however deep it is wrapped: ``{"error": {"error": {"message": …}}}``."""
    while isinstance(value, dict) and isinstance(value.get("error"), dict | str):
        value = value["error"]
    if isinstance(value, dict):
        said = next((value[key] for key in ("message", "code", "type") if isinstance(value.get(key), str)), None)
        return said or None
    return value if isinstance(value, str) and value else None


def when(created: Any) -> str | None:
    """Seconds since 1970 as ISO 8601."""
    seconds = as_number(created)
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds is not None and 0 < seconds < 1e11 else None
