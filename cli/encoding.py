"""Getting an encoder and its vectors ready for a command, and telling the person what that means.

Takes a workspace and the name of an encoder, gives an encoder whose vectors are as complete as the person would wait
for. Shared by ``search``, ``cluster`` and ``index``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..analysis.text.encode import Encoder
    from ..store.workspace import Workspace

CHARS_PER_SECOND: Final = 30_000
"""MiniLM on two cores; only used to decide whether to ask first."""
PATIENCE_SECONDS: Final = 120


def ready_encoder(workspace: Workspace, name: str | None, *, whole: bool = False) -> Encoder | None:
    """The encoder with its vectors up to date, or None where there is none or ``name`` is ``none``.

    What would take longer than two minutes is not begun unless ``whole``; the person is told how to have it done.
    """
    from ..analysis.text.encode import load_encoder
    from ..analysis.text.vectors import pending_chars, update_vectors
    from ..store.errors import StoreError
    from ..store.reader import open_reader
    from ..store.writer import open_writer
    from .output import say, track

    encoder = None if name == "none" else load_encoder(name)
    if encoder is None:
        if name != "none":
            say("No sentence encoder is installed (`pip install 'investigate[offline]'`), so only words are compared.")
        return None
    with open_reader(workspace) as reader:
        pending, total = pending_chars(workspace, encoder, reader)
    seconds = pending / CHARS_PER_SECOND
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
            with open_writer(workspace) as writer:
                for _ in track(update_vectors(writer, encoder), "encode"):
                    pass
        except StoreError as error:
            say(f"The vectors are not brought up to date: {error}")
    return encoder
