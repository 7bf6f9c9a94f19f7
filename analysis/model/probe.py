"""A probe: what it is, and its file.

Takes fitted weights and what is known of them, gives a ``.safetensors`` file with a JSON header, and reads it back.
Knows no model: whether a probe fits one is decided by comparing what the header says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from ...store import registry
from ...store.errors import InputError, ModelError, NotFoundError, UsageError

KINDS: Final = f"{__package__}.probes"
DEFAULT_KIND: Final = "mean_difference"
"""Reads well and steers best."""
Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Readout:
    """score = activation · ``w`` + ``b``, ``w`` of shape (d_model,); higher = more of the concept."""

    w: Vector
    b: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to fit a readout: ``fit(x (n, d_model), positive (n,) bool, seed)``. One file in ``probes/`` each, that
    ends in ``PROBE = Kind(summary=…, fit=…)``."""

    summary: str
    fit: Callable[[NDArray[np.floating[Any]], NDArray[np.bool_], int], Readout]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a probe remembers of its model, to know it again."""

    name: str
    config_hash: str
    weights_hash: str
    template_hash: str | None
    d_model: int
    n_layers: int


@dataclass(frozen=True, slots=True)
class Probe:
    """``w`` (d_model,) and ``b`` with all scaling folded in, read after block ``layer`` (0-based).

    ``read`` is a regex in the last assistant message at whose end the probe was trained, None for all tokens of
    ``mask``. ``contrast`` (d_model,) is the difference of the class means, in the residual stream's own units: its norm
    is what strength 1 means in steering. ``card`` is the report card.
    """

    concept: str
    kind: str
    layer: int
    w: Vector
    b: float
    contrast: Vector
    mask: str
    read: str | None
    model: ModelIdentity
    recipe: str
    recipe_hash: str
    seed: int
    card: dict[str, Any] = field(default_factory=dict)


def get_kind(name: str) -> Kind:
    """A kind of probe by name. Raises UsageError naming those that exist."""
    if name not in registry.names(KINDS):
        raise UsageError(f"There is no probe kind {name!r}; there are: {', '.join(registry.names(KINDS))}.")
    kind: Kind = registry.get(KINDS, name, "PROBE")
    return kind


def probe_path(folder: Path, concept: str, kind: str, model: ModelIdentity) -> Path:
    """Where a workspace keeps the probe of a concept, of a kind, for one model."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", concept):
        raise UsageError(f"{concept!r} cannot name a probe; use letters, digits, '.', '_' and '-'.")
    return folder / f"{concept}.{kind}.{model.weights_hash[:12]}.safetensors"


def write_probe(path: Path, probe: Probe) -> None:
    """Write the probe: tensors ``w [1, d]``, ``b [1]``, ``contrast [1, d]``, the rest as JSON in the header."""
    from safetensors.numpy import save_file

    header = {name: value for name, value in asdict(probe).items() if name not in ("w", "b", "contrast")}
    tensors = {
        "w": probe.w[None].astype(np.float32),
        "b": np.asarray([probe.b], np.float32),
        "contrast": probe.contrast[None].astype(np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata={"investigate.probe": orjson.dumps(header).decode()})
    temporary.rename(path)


def read_probe(path: Path) -> Probe:
    """Read a probe file. Raises InputError when it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = orjson.loads((file.metadata() or {})["investigate.probe"])
            w, b, contrast = (file.get_tensor(name) for name in ("w", "b", "contrast"))
        model = ModelIdentity(**header.pop("model"))
        return Probe(model=model, w=w[0], b=float(b[0]), contrast=contrast[0], **header)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no probe file ({error}); train one with `investigate probe train`.") from None


def list_probes(folder: Path) -> list[Probe]:
    """The probes of a workspace, by concept."""
    return [read_probe(path) for path in sorted(folder.glob("*.safetensors"))]


def find_probe(probes: Sequence[Probe], concept: str, model: ModelIdentity, kind: str | None = None) -> Probe | None:
    """The probe of a concept that was trained on this very model, or None. Without ``kind`` the default kind's, where
    there are several."""
    fitting = [
        probe
        for probe in probes
        if probe.concept == concept
        and probe.model.weights_hash == model.weights_hash
        and probe.model.template_hash == model.template_hash
        and kind in (None, probe.kind)
    ]
    return min(fitting, key=lambda probe: (probe.kind != DEFAULT_KIND, probe.kind), default=None)


def check_fit(probe: Probe, model: ModelIdentity) -> str | None:
    """None when the probe was trained on this model, a warning when on another of the same shape.

    Raises ModelError when it cannot be applied at all.
    """
    if probe.model.d_model != model.d_model or probe.layer >= model.n_layers:
        raise ModelError(
            f"The probe {probe.concept} reads layer {probe.layer} of a model {probe.model.d_model} wide; {model.name} "
            f"has {model.n_layers} layers, {model.d_model} wide. Train it anew with `investigate probe train`."
        )
    if probe.model.weights_hash != model.weights_hash:
        return (
            f"The probe {probe.concept} was trained on {probe.model.name}, not on {model.name}: "
            "its scores may mean nothing."
        )
    return None


def get_probe(folder: Path, name: str) -> Probe:
    """A probe by its concept, or by the name of its file. Raises NotFoundError, UsageError where several match."""
    paths = {path: read_probe(path) for path in sorted(folder.glob("*.safetensors"))}
    found = [probe for path, probe in paths.items() if name in (probe.concept, path.name, path.stem)]
    if not found:
        known = ", ".join(sorted({probe.concept for probe in paths.values()})) or "none"
        raise NotFoundError(
            f"There is no probe {name!r} in this workspace (there are: {known}); see `investigate probe train`."
        )
    if len(found) > 1:
        names = ", ".join(path.stem for path, probe in paths.items() if probe in found)
        raise UsageError(f"Several probes are called {name!r}; say which: {names}.")
    return found[0]
