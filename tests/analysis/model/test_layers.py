"""Layers: found in every family, checked against the model's own hidden states, and typed as people write them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from investigate.analysis.model.layers import EMBEDDINGS, check_architecture, decoder_blocks, parse_layers
from investigate.store.errors import ModelError, UsageError

SIZES: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip
EXPERTS: dict[str, Any] = {"num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {}, "qwen2": {}, "qwen3": {"head_dim": 8}, "gemma2": {"head_dim": 8}, "gemma3_text": {"head_dim": 8},
    "mistral": {}, "phi": {}, "phi3": {}, "olmo": {}, "olmo2": {}, "gpt2": {}, "gpt_neox": {},
    "qwen3_moe": {**EXPERTS, "moe_intermediate_size": 16, "head_dim": 8}, "mixtral": EXPERTS, "olmoe": EXPERTS,
    "gpt_oss": {**EXPERTS, "head_dim": 8},
}  # fmt: skip


def make(kind: str, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    sizes = {key: value for key, value in SIZES.items() if kind != "gpt2" or key != "num_key_value_heads"}
    return AutoModel.from_config(AutoConfig.for_model(kind, **{**sizes, **MODELS[kind], **changes})).eval()


@pytest.mark.parametrize("kind", MODELS)
def test_the_blocks_of_every_family_are_found_and_pass_the_check(kind: str) -> None:
    model = make(kind)
    blocks = decoder_blocks(model)
    assert len(blocks) == 3
    assert len({type(block) for block in blocks}) == 1
    check_architecture(model)


def test_blocks_that_are_not_the_hidden_states_are_refused() -> None:
    """The model's own account, shifted by one block, is what a wrong guess of the blocks would look like."""
    model = make("llama", rms_norm_eps=1e-4)
    original = model.forward

    def shifted(*args: Any, **options: Any) -> Any:
        output = original(*args, **options)
        output.hidden_states = (*output.hidden_states[1:], output.hidden_states[0])
        return output

    model.forward = shifted
    with pytest.raises(ModelError, match=r"layer 0 differs.*replay another model"):
        check_architecture(model)


def test_checking_leaves_no_hooks_behind() -> None:
    model = make("llama", rms_norm_eps=1e-3)
    check_architecture(model)
    before = [len(block._forward_hooks) for block in decoder_blocks(model)]
    model.config.rms_norm_eps = 1e-2  # Another config, so that it is checked again.
    check_architecture(model)
    assert [len(block._forward_hooks) for block in decoder_blocks(model)] == before


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    model = make("llama")
    model.layers = torch.nn.ModuleList(list(model.layers)[:2])
    with pytest.raises(ModelError, match="replay another model"):
        decoder_blocks(model)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8,16,24", [8, 16, 24]),
        ("-1, 0", [0, 31]),
        ("25%-75%", list(range(8, 25))),
        ("50%", [16]),
        ("100%", [31]),
        ("4-6,5", [4, 5, 6]),
        ("middle", [16]),
        ("all", list(range(32))),
        ("embeddings,0", [EMBEDDINGS, 0]),
    ],
)
def test_layers_are_parsed_as_people_write_them(text: str, expected: list[int]) -> None:
    assert parse_layers(text, 32) == expected


@pytest.mark.parametrize("text", ["", "32", "-33", "8,", "x", "120%", "9-8", "1.5", "-0.5%"])
def test_what_is_no_layer_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_layers(text, 32)
