"""Reads recipes: the contrast prompts from which a probe is trained on the user's own model.

Takes a JSON Lines file (a header, then one pair of conversations a line), gives a ``Recipe``. Knows no model, no chat
template and no tensor: what is rendered and read from a conversation is decided where the model is.

The header says what the recipe is and where it is read:

    {"recipe": "deception", "version": 1, "description": "…", "read": null, "mask": "assistant", "language": "en",
     "status": "untested: no real model has been fitted with it"}

``read`` is a regular expression searched in the last assistant message: the activation is taken at the token that holds
the last character of its first match. Where it is null, all tokens of ``mask`` are read and averaged: ``assistant`` is
every token of the last message, ``last`` the last token of the rendering with the generation prompt. Header fields that
are not named here (such as ``text_baseline``) are for people and are passed over.

    {"pair": "p001", "split": "train", "kind": "contrast", "positive_group": "…", "negative_group": "…",
     "positive": [{"role": "user", "content": "…"}, …], "negative": […]}

A group, here a topic, stands in one split only. An ``empty`` pair differs in something inert: it is a control.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final

import orjson

from ...store.errors import InputError, NotFoundError

MASKS: Final = ("assistant", "last")
SPLITS: Final = ("train", "test")
KINDS: Final = ("contrast", "empty")
ROLES: Final = ("system", "user", "assistant")

_PACKAGE: Final = f"{__package__}.recipes"
_SUFFIX: Final = ".jsonl"
_TEXTS: Final = ("recipe", "description", "language", "status")
_SIDES: Final = ("positive", "negative")

Messages = tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two conversations that differ in the concept (``contrast``) or in something inert (``empty``)."""

    pair: str
    split: str
    kind: str
    positive_group: str
    negative_group: str
    positive: Messages
    """``{"role", "content"}`` per message, in order."""
    negative: Messages


@dataclass(frozen=True, slots=True)
class Recipe:
    """The pairs of one concept and where they are read; a reading is higher where the named concept is."""

    name: str
    version: int
    description: str
    read: str | None
    mask: str
    language: str
    status: str
    pairs: tuple[Pair, ...]
    sha256: str
    """Of the file's bytes, in hex: what a probe says it was trained from."""


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file. Raises InputError with file, line and remedy at the first thing that is wrong with it."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a recipe file.") from error
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise InputError(f'{path} is empty; begin it with a header line such as {{"recipe": "NAME", …}}.')
    header = _header(lines[0][1], f"{path}, line {lines[0][0]}")
    pairs: list[Pair] = []
    splits: dict[str, str] = {}
    seen: set[str] = set()
    for number, line in lines[1:]:
        where = f"{path}, line {number}"
        pair = _pair(_object(line, where), header, where)
        if pair.pair in seen:
            raise InputError(f"{where}: the pair {pair.pair!r} occurs twice; give each pair a name of its own.")
        seen.add(pair.pair)
        for group in (pair.positive_group, pair.negative_group):
            if splits.setdefault(group, pair.split) != pair.split:
                raise InputError(f"{where}: the group {group!r} is in both train and test; keep it in one of them.")
        pairs.append(pair)
    if not any(pair.kind == "contrast" for pair in pairs):
        raise InputError(f'{path}, line {lines[-1][0]}: the file ends without a pair of kind "contrast"; add some.')
    return Recipe(
        name=header["recipe"],
        version=header["version"],
        description=header["description"],
        read=header.get("read"),
        mask=header["mask"],
        language=header["language"],
        status=header["status"],
        pairs=tuple(pairs),
        sha256=sha256(raw).hexdigest(),
    )


def packaged_names() -> list[str]:
    """The recipes that come with the program, in alphabetical order."""
    entries = resources.files(_PACKAGE).iterdir()
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX))


def find_recipe(name: str, model_dir: Path | None, extra: Path | None = None) -> Recipe:
    """The recipe ``name``: from the file ``extra`` if one is given, else the model's own, else the packaged one.

    A model with a language of its own carries its recipes in ``model_dir/recipes/NAME.jsonl``. Raises NotFoundError
    naming the recipes that exist, and InputError where a file's header names another recipe than was asked for.
    """
    if extra is not None:
        if not extra.is_file():
            raise NotFoundError(f"There is no recipe file {extra}; {_those_that_exist(model_dir)}.")
        return _checked(read_recipe(extra), name, extra)
    own = _own_recipes(model_dir)
    if name in own:
        return _checked(read_recipe(own[name]), name, own[name])
    if name in packaged_names():
        with resources.as_file(resources.files(_PACKAGE) / f"{name}{_SUFFIX}") as path:
            return _checked(read_recipe(path), name, path)
    raise NotFoundError(f"There is no recipe {name!r}; {_those_that_exist(model_dir)}.")


def _own_recipes(model_dir: Path | None) -> dict[str, Path]:
    # Listed rather than joined to the name, so that a name with ".." or "/" in it leads nowhere.
    return {} if model_dir is None else {path.stem: path for path in (model_dir / "recipes").glob(f"*{_SUFFIX}")}


def _those_that_exist(model_dir: Path | None) -> str:
    return f"there are: {', '.join(sorted({*packaged_names(), *_own_recipes(model_dir)}))}"


def _checked(recipe: Recipe, name: str, path: Path) -> Recipe:
    if recipe.name != name:
        raise InputError(f"{path} holds the recipe {recipe.name!r}, not {name!r}; ask for it by that name.")
    return recipe


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where}: this is not JSON ({error.msg}); write one JSON object a line.") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: this is JSON but no object; write one {{…}} a line.")
    return value


def _header(line: bytes, where: str) -> dict[str, Any]:
    header = _object(line, where)
    if "recipe" not in header:
        raise InputError(f'{where}: the header is missing; begin the file with a line such as {{"recipe": "NAME", …}}.')
    for field in _TEXTS:
        if not isinstance(header.get(field), str):
            raise InputError(f"{where}: the header has no {field!r}; add it as a text.")
    if type(header.get("version")) is not int:
        raise InputError(f"{where}: the header has no 'version'; add it as a whole number.")
    _one_of(header, "mask", MASKS, where)
    read = header.get("read")
    if read is not None and not isinstance(read, str):
        raise InputError(f"{where}: 'read' is neither null nor a text; give a regular expression or null.")
    try:
        re.compile(read or "")
    except re.error as error:
        raise InputError(f"{where}: 'read' is no regular expression ({error}); mend it or set it to null.") from error
    return header


def _one_of(record: Mapping[str, Any], field: str, allowed: tuple[str, ...], where: str) -> str:
    value = record.get(field)
    if value not in allowed:
        raise InputError(f"{where}: unknown {field} {value!r}; use {' or '.join(map(repr, allowed))}.")
    return str(value)


def _pair(record: Mapping[str, Any], header: Mapping[str, Any], where: str) -> Pair:
    for field in ("pair", "positive_group", "negative_group"):
        if not isinstance(record.get(field), str):
            raise InputError(f"{where}: the pair has no {field!r}; add it as a text.")
    split, kind = _one_of(record, "split", SPLITS, where), _one_of(record, "kind", KINDS, where)
    positive, negative = (_messages(record.get(side), side, header, where) for side in _SIDES)
    if positive == negative:
        raise InputError(f"{where}: 'positive' and 'negative' are the same; let them differ or drop the pair.")
    return Pair(record["pair"], split, kind, record["positive_group"], record["negative_group"], positive, negative)


def _messages(value: object, side: str, header: Mapping[str, Any], where: str) -> Messages:
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: the pair has no {side!r}; add it as a list of messages.")
    messages: list[dict[str, str]] = []
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str) or not message["content"]:
            raise InputError(f'{where}: a message of {side!r} is not {{"role": …, "content": text}}; write it so.')
        _one_of(message, "role", ROLES, where)
        messages.append({"role": message["role"], "content": message["content"]})
    read = header.get("read")
    if (read is not None or header["mask"] == "assistant") and messages[-1]["role"] != "assistant":
        raise InputError(f"{where}: {side!r} does not end with an assistant message; add the one that is to be read.")
    if read is not None:
        # An empty match holds no character, so there would be no token to read.
        match = re.search(read, messages[-1]["content"])
        if match is None or not match[0]:
            raise InputError(f"{where}: 'read' matches nothing in the reply of {side!r}; mend one of the two.")
    return tuple(messages)
