"""Getting an encoder and its vectors ready for a command, and telling the person what that means.

Takes a workspace and the name of an encoder, gives an encoder whose vectors are as complete as the person would wait
for. Shared by every command that compares by meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..analysis.text.encode import Encoder
    from ..store.reader import Reader
    from ..store.workspace import Workspace

PATIENCE_SECONDS: Final = 120


def ready_encoder(reader: Reader, name: str | None, *, whole: bool = False) -> Encoder | None:
    """The encoder with its vectors up to date, or None where there is none or ``name`` is ``none``.

    What would take longer than two minutes is not begun unless ``whole``; the person is told how to have it done, and
    also where the vectors cannot be written. With ``whole`` that is a StoreError.
    """
    from ..analysis.text.embed import is_prepared, pending_chars
    from ..analysis.text.encode import load_encoder
    from ..store.errors import StoreError
    from .output import say

    workspace = reader.workspace
    encoder = None if name == "none" else load_encoder(name, workspace.root)
    if encoder is None:
        if name != "none":
            say("No sentence encoder is installed (`pip install 'investigate[offline]'`), so only words are compared.")
        return None
    pending, total = pending_chars(workspace, encoder, reader)
    preparing = not is_prepared(reader, encoder)
    seconds = pending / encoder.chars_per_second + (_preparing_seconds(pending) if preparing else 0)
    if pending and seconds > PATIENCE_SECONDS and not whole:
        share = 1 - pending / total
        say(
            f"{share:.0%} of the text is encoded for search by meaning; the rest takes about "
            f"{seconds / 60:.0f} minutes: `investigate index`."
        )
    elif pending:
        if seconds > 5:
            say(f"Encoding {pending:,} characters for search by meaning, once; about {seconds:.0f} s.")
        try:
            _update(workspace, encoder, pending)
        except StoreError as error:
            if whole:
                raise
            say(f"The vectors are not brought up to date: {error}")
    return encoder


def _preparing_seconds(n_chars: int) -> float:
    """What fitting the encoder to the workspace takes: a sample is read by MiniLM."""
    from ..analysis.text.encode import SLOW_CHARS
    from ..analysis.text.static import SAMPLE

    return min(n_chars, 500 * SAMPLE) / SLOW_CHARS


def _update(workspace: Workspace, encoder: Encoder, pending: int) -> None:
    from ..analysis.text.embed import is_prepared, prepare, update_vectors
    from ..store.reader import open_reader
    from ..store.writer import open_writer
    from .output import say, track_amount

    with open_writer(workspace) as writer:
        with open_reader(workspace) as reader:
            if not is_prepared(reader, encoder):
                say(f"Fitting the encoder {encoder.name!r} to a sample of this workspace.")
                prepare(reader, encoder)
        for _ in track_amount(update_vectors(writer, encoder), "encode", pending):
            pass


def update_index(reader: Reader) -> None:
    """Index what ingest left; another writer at work, or a folder that cannot be written, only means that the newest
    episodes are not found yet."""
    from ..analysis.text.index import pending_shards, update_text_index
    from ..store.catalog import connect_for_reading, is_indexed
    from ..store.errors import StoreError
    from ..store.workspace import TEXT_INDEX
    from ..store.writer import open_writer
    from .output import say, track

    with connect_for_reading(reader.workspace.catalog_path) as catalog:
        if is_indexed(catalog, TEXT_INDEX):
            return
        rows = catalog.execute("SELECT shard_id FROM indexed WHERE index_name = ?", (TEXT_INDEX,))
        pending = pending_shards(reader, {row[0] for row in rows})
    try:
        with open_writer(reader.workspace) as writer:
            for _ in track(update_text_index(writer), "index", len(pending)):
                pass
    except StoreError as error:
        if pending:
            say(f"{len(pending)} shards are not indexed yet, so their episodes are not found: {error}")
