"""Tiny models that write, with tokenizers of real words, a beginning and an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.backbones import tiny

WORDS = ("the", "a", "king", "rose", "day", "night", "sun", "moon", "fair", "love", "thy", "eyes")


def save(architecture: str, folder: Path, seed: int = 0) -> Path:
    """T5, GPT-2 or BERT of two or three narrow blocks in Hugging Face layout."""
    import transformers as t

    config = tiny.configs()[architecture]
    torch.manual_seed(seed)
    if architecture == "t5":
        model: Any = t.T5ForConditionalGeneration(config)
    elif architecture == "gpt2":
        model = t.GPT2LMHeadModel(config)
    else:
        model = t.BertForMaskedLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.0, 0.05)  # zero biases would hide a missing one
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.1)
    model.save_pretrained(folder)
    tokenizer(architecture).save_pretrained(folder)
    return folder


def tokenizer(architecture: str) -> Any:
    """Words and letters; T5's ends a text with </s>, BERT's has [CLS] and [SEP] around it."""
    import transformers as t
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    first = {"t5": ["<pad>", "</s>", "<unk>"], "gpt2": ["<|endoftext|>", "<unk>"]}.get(
        architecture, ["[PAD]", "[CLS]", "[SEP]", "<unk>"]
    )
    letters = [*WORDS, *"abcdefghijklmnopqrstuvwxyz", ":", ".", "\n"]
    ids = {word: i for i, word in enumerate(dict.fromkeys([*first, *letters]))}
    for number in range(len(ids), 100):
        ids[f"w{number}"] = number
    made = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    named: dict[str, Any] = {"eos_token": "<|endoftext|>"}
    if architecture == "t5":
        named = {"eos_token": "</s>", "pad_token": "<pad>"}
        made.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
    elif architecture == "bert":
        named = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return t.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **named)
