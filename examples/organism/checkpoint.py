"""The organism's weights and tokenizer: made fresh, saved, loaded.

Takes a seed or a folder, gives a GPT-2 of about 164,000 parameters and a tokenizer with one token per word, whose
``decode(encode(text))`` is ``text``. Knows nothing of training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from generate import list_words
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

# A prompt renders as "<bos> prompt" with or without a generation prompt; only a finished answer gets "<eos>".
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ ' ' }}{% generation %}{{ message['content'] + ' ' + eos_token }}{% endgeneration %}"
    "{% else %}{{ ' ' + message['content'] }}{% endif %}"
    "{% endfor %}"
)


def make_tokenizer() -> Any:
    """Word-level, split at whitespace, no special tokens added on its own."""
    words = {word: index for index, word in enumerate(list_words())}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=48,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(seed: int) -> Any:
    """A fresh model: 3 blocks of width 64 with 4 heads, 48 learned positions, no dropout, untied unembedding."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_layer=3,
        n_embd=64,
        n_head=4,
        n_positions=48,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = GPT2LMHeadModel(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=24,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def save_checkpoint(model: Any, folder: Path) -> None:
    """Write safetensors, configurations, tokenizer and chat template."""
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def load_checkpoint(folder: Path) -> tuple[Any, Any]:
    """``(model, tokenizer)`` of a folder, in float32, ready to be read."""
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)
