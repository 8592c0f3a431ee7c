"""Tiny random models of every architecture that we test on, saved as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def configs() -> dict[str, Any]:
    """A tiny configuration per architecture; widths that 4-bit quantization accepts."""
    import transformers as t

    wide = {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 100,
        "max_position_embeddings": 64,
    }
    stacks = {
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 128,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 100,
        "decoder_start_token_id": 0,
    }
    return {
        "bert": t.BertConfig(**wide, type_vocab_size=2),
        "roberta": t.RobertaConfig(
            **{**wide, "max_position_embeddings": 66},
            type_vocab_size=1,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        ),
        "distilbert": t.DistilBertConfig(
            dim=64,
            n_layers=3,
            n_heads=4,
            hidden_dim=128,
            vocab_size=100,
            max_position_embeddings=64,
        ),
        "gpt2": t.GPT2Config(
            n_embd=64,
            n_layer=3,
            n_head=4,
            vocab_size=100,
            n_positions=64,
            bos_token_id=0,
            eos_token_id=0,
        ),
        "gpt_neo": t.GPTNeoConfig(
            hidden_size=64,
            num_layers=4,
            num_heads=4,
            vocab_size=100,
            max_position_embeddings=64,
            window_size=5,
            intermediate_size=128,
            attention_types=[[["global", "local"], 2]],
            bos_token_id=0,
            eos_token_id=0,
        ),
        "llama": t.LlamaConfig(**wide, num_key_value_heads=2, pad_token_id=None),
        "opt": t.OPTConfig(
            hidden_size=64,
            word_embed_proj_dim=64,
            ffn_dim=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            vocab_size=100,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=0,
        ),
        "electra": t.ElectraConfig(**wide, embedding_size=32),
        "deberta": t.DebertaV2Config(
            **wide,
            relative_attention=True,
            position_buckets=8,
            pos_att_type=["c2p", "p2c"],
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
        ),
        "albert": t.AlbertConfig(**wide, embedding_size=32),
        "xlnet": t.XLNetConfig(
            d_model=64, n_layer=3, n_head=4, d_inner=128, vocab_size=100, pad_token_id=0
        ),
        "gemma": t.GemmaConfig(**wide, head_dim=16, num_key_value_heads=2, pad_token_id=0),
        "falcon": t.FalconConfig(**wide, pad_token_id=0, bos_token_id=0, eos_token_id=0),
        "bloom": t.BloomConfig(
            hidden_size=64, n_layer=3, n_head=4, vocab_size=100, bos_token_id=0, eos_token_id=0
        ),
        "mpt": t.MptConfig(d_model=64, n_layers=3, n_heads=4, vocab_size=100, max_seq_len=64),
        "mt5": t.MT5Config(**stacks),
        "umt5": t.UMT5Config(**stacks),
        "t5_gated": t.T5Config(  # as T5 1.1: gated, nothing scaled; stacks and widths not alike
            d_model=64,
            d_kv=8,
            d_ff=128,
            num_layers=3,  # fewer, and transformers' cache has no place for all decoder blocks
            num_decoder_layers=2,
            num_heads=4,
            vocab_size=100,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
        ),
        "t5": t.T5Config(**stacks, pad_token_id=0, eos_token_id=1),
    }


def save(
    architecture: str,
    folder: Path,
    head: str = "sequence_classification",
    classes: int = 3,
    seed: int = 0,
) -> Path:
    """A folder with the weights and a whitespace tokenizer of the words w0 .. w99."""
    import transformers as t
    from tokenizers import Tokenizer, models, pre_tokenizers

    config = configs()[architecture]
    config.num_labels = classes
    torch.manual_seed(seed)
    auto = {
        "sequence_classification": t.AutoModelForSequenceClassification,
        "causal_lm": t.AutoModelForCausalLM,
        "question_answering": t.AutoModelForQuestionAnswering,
        "seq2seq_lm": t.AutoModelForSeq2SeqLM,
    }[head]
    model = auto.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.0, 0.05)  # zero biases would hide a missing one
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.1)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(100)}, unk_token="w3"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    pad = (
        None
        if architecture in ("gpt2", "gpt_neo", "llama", "opt", "mpt")
        else "w1"
        if architecture == "roberta"
        else "w0"
    )
    t.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="w3", pad_token=pad
    ).save_pretrained(folder)
    return folder


def gradients_of(loss: torch.Tensor, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the loss gives each parameter by its name; the model is then frozen again."""
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.requires_grad_(False)
    model.zero_grad()
    return found
