"""What every worker needs, imported once in the fork server, so that no worker pays for it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import tempfile

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that nobody misses

for name in (
    "torch",
    "tokenizers",
    "safetensors.torch",
    "pandas",  # what pyarrow imports when it hands over numbers
    "pyarrow.parquet",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.roberta.modeling_roberta",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.tokenization_utils_tokenizers",
    "tuneoff.backbones.families",
    "tuneoff.backbones.gpt2",
    "tuneoff.data.encoded",
    "tuneoff.training.loop",
    "tuneoff.planning.survey",
    "tuneoff.running.cohort_job",
    "tuneoff.running.profile_job",
):
    try:
        importlib.import_module(name)
    except ImportError:  # the worker that needs it will say what is missing
        continue


def _rehearse() -> None:
    """Loads a model of a few numbers, so that what libraries build on first use is there too."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8
    )
    with tempfile.TemporaryDirectory() as folder:
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
        transformers.AutoModelForSequenceClassification.from_pretrained(folder)


with contextlib.suppress(OSError):  # without a folder to write to, every worker pays for itself
    _rehearse()
gc.collect()
gc.freeze()  # a worker's collections neither walk nor copy what all workers share
