"""What every worker needs, imported once in the fork server, so that no worker pays for it."""

from __future__ import annotations

import importlib
import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

for name in (
    "torch",
    "tokenizers",
    "safetensors.torch",
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
