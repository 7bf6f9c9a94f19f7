"""``investigate index``: bring the derived indexes up to date, however long it takes."""

from __future__ import annotations

from .options import EncoderOption, WorkspaceOption


def command(workspace: WorkspaceOption = None, encoder: EncoderOption = None) -> None:
    """Bring the indexes for words and for meaning up to date. Interrupted, it goes on where it stopped."""
    from ..analysis.text.index import update_text_index
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace
    from ..store.writer import open_writer
    from .encoding import ready_encoder
    from .output import say, track

    opened = open_workspace(workspace)
    with open_writer(opened) as writer:
        for _ in track(update_text_index(writer), "index"):
            pass
    with open_reader(opened) as reader:
        chosen = ready_encoder(reader, encoder, whole=True)
    say("The text index is up to date." if chosen is None else f"Text and vectors ({chosen.name}) are up to date.")
