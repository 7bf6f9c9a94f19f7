"""Activations of chosen layers for many token sequences, or what is read from them where they are.

Takes a loaded model and token ids, yields the residual stream of each sequence by layer, or scores of it. Packs
sequences into rows by a budget of tokens, longest first, stops after the deepest layer asked for, and halves what does
not fit into memory. Knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from ...store.errors import ModelError
from .layers import EMBEDDINGS, Layer, check_architecture, decoder_blocks, hidden_of
from .load import LoadedModel
from .packing import CannotPackError, may_pack, packed

Reduce = Callable[[Layer, torch.Tensor], torch.Tensor]
"""``reduce(layer, activations (n_tokens, d_model))`` on the model's device, in its dtype; its result is moved off."""

Readout = Mapping[Layer, tuple[torch.Tensor, torch.Tensor]]
"""By layer ``W (d_model, K)`` and ``b (K)``: scores are ``activations @ W + b`` in float32."""

_packable: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


class _DeepEnoughError(Exception):
    """Raised by the hook of the deepest layer: what comes after it would be thrown away."""


@dataclass(frozen=True, slots=True)
class Captured:
    """Sequence ``index`` of those given, and by layer ``(n_tokens, d_model)`` activations, ``(n_tokens, K)`` scores or
    what ``reduce`` gave; float32, on the CPU, row i for token i."""

    index: int
    activations: dict[Layer, torch.Tensor]


def capture(
    loaded: LoadedModel,
    sequences: Sequence[Sequence[int]],
    layers: Sequence[Layer],
    *,
    token_budget: int = 4096,
    readout: Readout | None = None,
    reduce: Reduce | None = None,
) -> Iterator[Captured]:
    """Run every sequence once and yield it when done, so not in the order given.

    A layer is the output of its decoder block, ``EMBEDDINGS`` what goes into block 0. With ``readout`` or ``reduce``
    no vectors leave the device. ``token_budget`` bounds the tokens run at once; a longer sequence runs alone. Raises
    ModelError for layers that are not built, for sequences that are empty or longer than the model's context, for a
    model whose blocks are not its layers, and when one sequence alone does not fit into memory.
    """
    model = loaded.model.base_model
    _check_request(loaded, sequences, layers)
    check_architecture(model)
    take = reduce or (_reader(readout, model.device) if readout is not None else _whole)
    as_row = can_pack(model)
    waiting = _packs([len(ids) for ids in sequences], token_budget, as_row)[::-1]
    run = _run_row if as_row else _run_batch
    while waiting:
        pack = waiting.pop()
        try:
            hidden = run(loaded, [sequences[index] for index in pack], layers)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            hidden = None
        if hidden is None:
            waiting += _halves(loaded, pack, len(sequences[pack[0]]))
            continue
        for place, index in enumerate(pack):
            found = {}
            for layer in layers:
                rows = hidden[layer][place]
                if len(rows) != len(sequences[index]):
                    raise RuntimeError(f"captured {len(rows)} rows of layer {layer} for {len(sequences[index])} tokens")
                # A copy: rows are a view of the whole pack, and tensors of inference mode take no part in training.
                found[layer] = take(layer, rows).to("cpu", torch.float32, copy=True)
            yield Captured(index, found)
        del hidden, rows  # Else they would stand beside the next pack's.


def can_pack(model: Any) -> bool:
    """Does the model give the same activations packed as one by one? Tried on a few tokens, once per model."""
    if model not in _packable:
        _packable[model] = may_pack(model) and _packs_well(model)
    return _packable[model]


def _packs_well(model: Any) -> bool:
    vocab_size = int(model.config.get_text_config().vocab_size)
    sequences = [[(7 * start + step) % vocab_size for step in range(length)] for start, length in enumerate((5, 8, 3))]
    last = len(decoder_blocks(model)) - 1
    try:
        rows = _forward_row(model, sequences, [last])[last]
    except CannotPackError:
        return False
    limit = 1e-3 if model.dtype == torch.float32 else 5e-2
    for ids, row in zip(sequences, rows, strict=True):
        with _hooked(model, [last]) as seen:
            _forward(model, torch.tensor([ids], device=model.device))
        alone = seen[last][0].float()
        # A leak changes activations by as much as they differ between tokens; rounding does not.
        if (row.float() - alone).abs().max() > limit * max(1.0, float(alone.abs().max())):
            return False
    return True


def _check_request(loaded: LoadedModel, sequences: Sequence[Sequence[int]], layers: Sequence[Layer]) -> None:
    n_built = len(decoder_blocks(loaded.model))
    for layer in layers:
        if not EMBEDDINGS <= layer < n_built:
            raise ModelError(f"There is no layer {layer}: {n_built} layers of {loaded.name} are loaded, from 0 on.")
    if not layers:
        raise ModelError("No layer is asked for; name at least one.")
    longest = int(getattr(loaded.model.config.get_text_config(), "max_position_embeddings", 1 << 62))
    for index, ids in enumerate(sequences):
        if not 0 < len(ids) <= longest:
            raise ModelError(
                f"Sequence {index} has {len(ids)} tokens and {loaded.name} reads 1 to {longest}; leave its episode out."
            )


def _whole(_layer: Layer, activations: torch.Tensor) -> torch.Tensor:
    return activations


def _reader(readout: Readout, device: torch.device) -> Reduce:
    moved = {layer: (w.to(device, torch.float32), b.to(device, torch.float32)) for layer, (w, b) in readout.items()}

    def read(layer: Layer, activations: torch.Tensor) -> torch.Tensor:
        w, b = moved[layer]
        return activations.float() @ w + b

    return read


def _packs(lengths: Sequence[int], budget: int, as_row: bool) -> list[list[int]]:
    """Indices to run together, longest first. A row costs its tokens, a batch its longest times its size."""
    packs: list[list[int]] = []
    cost = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        more = lengths[index] if as_row or not packs else lengths[packs[-1][0]]
        if packs and cost + more <= budget:
            packs[-1].append(index)
            cost += more
        else:
            packs.append([index])
            cost = lengths[index]
    return packs


def _halves(loaded: LoadedModel, pack: list[int], n_tokens: int) -> list[list[int]]:
    if len(pack) == 1:
        raise ModelError(
            f"A sequence of {n_tokens} tokens does not fit into memory beside {loaded.name}; use --dtype bfloat16, a "
            "shallower layer or a larger machine."
        )
    if loaded.device.startswith("cuda"):
        torch.cuda.empty_cache()
    middle = len(pack) // 2
    return [pack[middle:], pack[:middle]]


def _is_out_of_memory(error: RuntimeError) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said


def _run_row(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> dict[Layer, list[torch.Tensor]]:
    return _forward_row(loaded.model.base_model, sequences, layers)


def _forward_row(
    model: Any, sequences: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> dict[Layer, list[torch.Tensor]]:
    """All sequences as one row of tokens; by layer each one's (n_tokens, d_model)."""
    lengths = [len(ids) for ids in sequences]
    ids = torch.tensor([[token for ids in sequences for token in ids]], device=model.device)
    with _hooked(model, layers) as seen, packed(model, lengths) as positions:
        _forward(model, ids, position_ids=positions)
    return {layer: list(hidden[0].split_with_sizes(lengths)) for layer, hidden in seen.items()}


def _run_batch(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> dict[Layer, list[torch.Tensor]]:
    """One row per sequence, padded on the right, where nothing looks back at the padding."""
    model = loaded.model.base_model
    width = max(len(ids) for ids in sequences)
    pad = loaded.tokenizer.pad_token_id or 0
    ids = torch.tensor([[*ids, *[pad] * (width - len(ids))] for ids in sequences], device=model.device)
    lengths = torch.tensor([[len(ids)] for ids in sequences], device=model.device)
    mask = (torch.arange(width, device=model.device) < lengths).long()
    with _hooked(model, layers) as seen:
        _forward(model, ids, attention_mask=mask)
    return {
        layer: [row[: len(ids)] for row, ids in zip(hidden, sequences, strict=True)] for layer, hidden in seen.items()
    }


def _forward(model: Any, ids: torch.Tensor, **options: torch.Tensor) -> None:
    try:
        with torch.inference_mode():
            model(input_ids=ids, use_cache=False, **options)
    except _DeepEnoughError:
        pass


@contextmanager
def _hooked(model: Any, layers: Sequence[Layer]) -> Iterator[dict[Layer, torch.Tensor]]:
    """While open, a forward pass leaves the hidden states of ``layers`` in what this gives, and ends at the deepest."""
    blocks = decoder_blocks(model)
    deepest = max(layers)
    seen: dict[Layer, torch.Tensor] = {}

    def keep(layer: Layer, hidden: torch.Tensor) -> None:
        seen[layer] = hidden
        if layer == deepest:
            raise _DeepEnoughError

    def before(_module: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        keep(EMBEDDINGS, inputs[0] if inputs else options["hidden_states"])

    handles = []
    try:
        for layer in layers:
            if layer == EMBEDDINGS:
                handles.append(blocks[0].register_forward_pre_hook(before, with_kwargs=True))
            else:
                hook = lambda _module, _inputs, output, layer=layer: keep(layer, hidden_of(output))  # noqa: E731
                handles.append(blocks[layer].register_forward_hook(hook))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
