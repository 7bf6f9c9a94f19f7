"""Several sequences as one row: attention that stays inside each of them.

Takes what transformers hands to a registered attention function, gives attention per segment. Knows no models by name:
whether a model can be packed is tried once, on a few tokens. Padding costs what it pads; a packed row costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME: Final = "investigate_packed"
_LENGTHS: ContextVar[list[int]] = ContextVar("lengths of the segments of the row being run")
_FULL_AND_SLIDING: Final = {"full_attention", "sliding_attention"}
_NOT_HERE: Final = ("softcap", "s_aux", "position_bias", "sinks")


class CannotPackError(Exception):
    """The model asks of attention what is not done here. Never leaves ``analysis/model``."""


def may_pack(model: Any) -> bool:
    """Is the model's attention of the kind that can be packed, as far as its config says?"""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return bool(getattr(model.base_model, "_supports_attention_backend", False)) and kinds <= _FULL_AND_SLIDING


@contextmanager
def packed(model: Any, lengths: Sequence[int]) -> Iterator[torch.Tensor]:
    """While open, the model attends inside segments of these lengths. Gives the position ids (1, n_tokens), which
    begin at 0 in each segment."""
    from transformers import AttentionInterface

    if NAME not in AttentionInterface():
        AttentionInterface.register(NAME, _attend)
    config = model.base_model.config
    before = config._attn_implementation
    token = _LENGTHS.set(list(lengths))
    config._attn_implementation = NAME
    try:
        yield torch.cat([torch.arange(length) for length in lengths])[None].to(model.device)
    finally:
        config._attn_implementation = before
        _LENGTHS.reset(token)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Query, key and value (1, n_heads, n_tokens, d_head) → (1, n_tokens, n_heads, d_head).

    Transformers makes no mask for an attention function it does not know, so each segment makes its own.
    """
    if attention_mask is not None or any(options.get(name) is not None for name in _NOT_HERE):
        raise CannotPackError
    window = _window(module, options)
    lengths = _LENGTHS.get()
    outputs = []
    for q, k, v in zip(*(part.split_with_sizes(lengths, 2) for part in (query, key, value)), strict=True):
        n_tokens = q.shape[2]
        mask = None if window is None or n_tokens <= window else _band(n_tokens, window, q.device)
        outputs.append(
            scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=True
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _window(module: Any, options: dict[str, Any]) -> int | None:
    """How many tokens back a layer sees, itself included; None for all. Some models say so only in their config."""
    window = options.get("sliding_window")
    if window is None:
        kinds = getattr(module.config, "layer_types", None)
        if kinds and kinds[module.layer_idx] == "sliding_attention":
            window = module.config.sliding_window
    return None if window is None else int(window)


def _band(n_tokens: int, window: int, device: torch.device) -> torch.Tensor:
    """(n_tokens, n_tokens), True where a query (row) sees a key (column)."""
    positions = torch.arange(n_tokens, device=device)
    back = positions[:, None] - positions[None, :]
    return (back >= 0) & (back < window)
