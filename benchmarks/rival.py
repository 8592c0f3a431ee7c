"""The rival: Hugging Face Trainer + PEFT + bitsandbytes, set up as its documentation shows.

Dynamic padding, PyTorch's fused AdamW, no logging, no evaluation, no saving in what is timed. It
sees the same examples in the same batches as we do, so that both must reach the same losses.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from torch.utils.data import Sampler

from benchmarks.workloads import CLASSES
from tuneoff.data.batches import order
from tuneoff.training.features import Features

LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "bias": "none", "task_type": "SEQ_CLS"}


class SameOrder(Sampler[int]):
    """Our order of the examples, epoch by epoch."""

    def __init__(self, examples: int, seed: int):
        self.examples, self.seed, self.epoch = examples, seed, 0

    def __iter__(self) -> Iterator[int]:
        yield from order(self.examples, self.seed, self.epoch).tolist()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.examples


def rows(features: Features) -> list[dict[str, Any]]:
    """Examples as Trainer takes them."""
    return [
        {
            "input_ids": features.tokens[a:b].tolist(),
            "attention_mask": [1] * (b - a),
            "labels": int(label),
        }
        for a, b, label in zip(
            features.offsets[:-1], features.offsets[1:], features.targets, strict=True
        )
    ]


def model(
    folder: Path, method: str, targets: Any = ("query", "value"), quantized: bool = False
) -> Any:
    """The model with its method: `full`, `head`, `top1`, `lora`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

    kwargs: dict[str, Any] = {}
    if quantized:
        kwargs["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=["classifier", "bert.pooler.dense"],
        )
    net = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(CLASSES), dtype=torch.float32, **kwargs
    )
    if method == "lora":
        net.requires_grad_(False)
        return get_peft_model(net, LoraConfig(**LORA, target_modules=targets))
    if method in ("head", "top1"):
        net.requires_grad_(False)
        net.classifier.requires_grad_(True)
    if method == "top1":
        net.bert.encoder.layer[-1].requires_grad_(True)
        net.bert.pooler.requires_grad_(True)
    return net


def trainer(
    net: Any,
    features: Features,
    epochs: float,
    batch_size: int,
    rate: float,
    seed: int,
    output: Path,
    by_length: bool = False,
    log: bool = False,
) -> Any:
    """A Trainer that is ready to train."""
    from transformers import (
        DataCollatorWithPadding,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
    )

    tokenizer = PreTrainedTokenizerFast.from_pretrained(output)
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="trainer-"),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        learning_rate=rate,
        weight_decay=0.01,
        warmup_steps=0.06,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        logging_strategy="steps" if log else "no",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length" if by_length else "random",
        dataloader_pin_memory=False,
        per_device_eval_batch_size=32,
    )

    class Ordered(Trainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            if by_length:
                return super()._get_train_sampler(*args, **kwargs)
            return SameOrder(len(features), seed)

    return Ordered(
        model=net,
        args=arguments,
        train_dataset=rows(features),
        data_collator=DataCollatorWithPadding(tokenizer),
    )


def losses(done: Any) -> np.ndarray:
    """The logged loss of every step."""
    return np.array([entry["loss"] for entry in done.state.log_history if "loss" in entry])
