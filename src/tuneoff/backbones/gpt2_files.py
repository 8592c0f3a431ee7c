"""GPT-2's configuration and checkpoints, in Hugging Face's form, read and written.

A folder holds config.json and model.safetensors, one file or several with an index; older ones
pytorch_model.bin. Names have the prefix `transformer.` or, in the hub's first checkpoints, none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tuneoff.errors import BackboneError

if TYPE_CHECKING:
    from tuneoff.backbones.gpt2 import GPT2PreTrained

SIZES: dict[str, dict[str, int]] = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}
"""Radford et al. 2019, table 2, and the released checkpoints' heads: 124M to 1.5B parameters."""

_NOT_OURS = ("add_cross_attention", "reorder_and_upcast_attn")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
}
"""By their names in config.json."""
_BUFFERS = (".attn.bias", ".attn.masked_bias")  # causal masks, which old checkpoints carry


@dataclass
class GPT2Config:
    """The shape of a model; names and defaults are those of config.json in Hugging Face's hub."""

    model_type: ClassVar = "gpt2"
    is_encoder_decoder: ClassVar = False

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    """Width of the feed-forward; four times n_embd when not given."""
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256
    pad_token_id: int | None = None
    id2label: dict[int, str] = field(default_factory=lambda: {0: "LABEL_0", 1: "LABEL_1"})
    other: dict[str, Any] = field(default_factory=dict)
    """What else config.json held; written back as it was."""

    @classmethod
    def of_size(cls, name: str, **changes: Any) -> GPT2Config:
        """One of the four published sizes.

        Raises BackboneError for another name.
        """
        if name not in SIZES:
            raise BackboneError(f"GPT-2 has no size {name!r}; sizes: {', '.join(SIZES)}")
        return cls(**{**SIZES[name], **changes})

    @classmethod
    def of(cls, data: Mapping[str, Any], where: str = "config.json") -> GPT2Config:
        """The configuration that a config.json holds.

        Raises BackboneError for another architecture, or a variant that we have not written.
        """
        kind = data.get("model_type")
        if kind != cls.model_type:
            raise BackboneError(
                f"implementation: `own` is there for gpt2 alone, and {where} says {kind!r}; leave "
                "implementation out, or set it to transformers"
            )
        if extra := [name for name in _NOT_OURS if data.get(name)]:
            raise BackboneError(
                f"implementation: our GPT-2 has no {', '.join(extra)}, which {where} asks for; set "
                "implementation: transformers"
            )
        if (act := data.get("activation_function", "gelu_new")) not in ACTIVATIONS:
            raise BackboneError(
                f"implementation: our GPT-2 has no activation_function {act!r}, which {where} asks "
                f"for, but {', '.join(ACTIVATIONS)}; set implementation: transformers"
            )
        own = {f.name for f in fields(cls)} - {"other", "id2label"}
        config = cls(**{name: data[name] for name in own & data.keys()})
        skipped = own | {"model_type", "id2label", "label2id", "architectures", "dtype"}
        config.other = {name: value for name, value in data.items() if name not in skipped}
        if labels := data.get("id2label"):
            config.id2label = {int(index): str(label) for index, label in labels.items()}
        if config.n_embd % config.n_head:
            raise BackboneError(
                f"{where}: n_embd {config.n_embd} is no multiple of n_head {config.n_head}"
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds."""
        own = asdict(self)
        other = own.pop("other")
        own["id2label"] = {str(index): label for index, label in self.id2label.items()}
        label2id = {label: index for index, label in self.id2label.items()}
        return {**other, **own, "label2id": label2id, "model_type": self.model_type}

    def get_text_config(self, **_: Any) -> GPT2Config:
        """The part that reads text: all of it."""
        return self

    @property
    def num_labels(self) -> int:
        """Classes of a classifier."""
        return len(self.id2label)

    @property
    def hidden_size(self) -> int:
        """n_embd, by the name that all architectures share; the others below alike."""
        return self.n_embd

    @property
    def num_attention_heads(self) -> int:
        """n_head."""
        return self.n_head

    @property
    def num_hidden_layers(self) -> int:
        """n_layer."""
        return self.n_layer

    @property
    def max_position_embeddings(self) -> int:
        """n_positions."""
        return self.n_positions


def load(
    cls: type[GPT2PreTrained],
    path: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    output_loading_info: bool = False,
    num_labels: int | None = None,
    id2label: Mapping[int, str] | None = None,
    quantization_config: Any = None,
    device_map: Mapping[str, str] | None = None,
    **_same: Any,
) -> Any:
    """A model of class `cls` with the weights of a folder or a hub name, in evaluation mode; takes
    what our loader gives transformers' `from_pretrained`, and says as it does what was missing.

    A head that is not in the files, or for another number of classes, is drawn anew. Raises
    BackboneError for anything else that is missing, of another size, or damaged.
    """
    config = GPT2Config.of(json.loads(_file(path, "config.json", revision).read_text()), path)
    if id2label is not None:
        config.id2label = dict(id2label)
    elif num_labels is not None:
        config.id2label = {index: f"LABEL_{index}" for index in range(num_labels)}
    with torch.device("meta"):
        model = cls(config)
    wanted = dict(model.named_parameters())
    state: dict[str, Tensor] = {}
    missing: list[str] = []
    resized: list[str] = []
    saved = _tensors(path, revision)
    for name, parameter in wanted.items():
        found = saved.get(name, saved.get(name.removeprefix("transformer.")))
        if found is not None and found.shape == parameter.shape:
            state[name] = found.to(dtype)
            continue
        (missing if found is None else resized).append(name)
        if name.split(".")[0] != cls.head_name:
            continue
        state[name] = torch.empty(parameter.shape, dtype=dtype)
        model.draw(name, state[name])
    _all_there(path, state.keys(), missing, resized, wanted)
    for name in model.state_dict().keys() - state.keys():  # the tied table's second name
        state[name] = state["transformer.wte.weight"]
    model.load_state_dict(state, assign=True)
    model.tie()
    model.eval()
    if quantization_config is not None:
        from tuneoff.backbones.quantization import quantize

        quantize(model, quantization_config, (device_map or {"": "cpu"})[""])
    return (
        (model, {"missing_keys": missing, "mismatched_keys": resized})
        if output_loading_info
        else model
    )


def _all_there(
    path: str, there: Any, missing: list[str], resized: list[str], wanted: Mapping[str, Any]
) -> None:
    for names, what in (
        (missing, "are missing"),
        (resized, "have another size than in config.json"),
    ):
        lost = [name for name in names if name not in there]
        if lost:
            raise BackboneError(
                f"backbone {path!r}: {len(lost)} of the {len(wanted)} weights of a GPT-2 {what} "
                f"({', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}); take all files from "
                "one checkpoint, and fetch them again where one is not whole"
            )


def _tensors(path: str, revision: str | None) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by its name there."""
    from safetensors.torch import load_file

    try:
        if index := _file(path, "model.safetensors.index.json", revision, optional=True):
            parts = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        else:
            parts = ["model.safetensors"]
        files = [_file(path, part, revision, optional=True) for part in parts]
        if all(files):
            tensors = {k: v for file in files for k, v in load_file(str(file)).items()}
        else:
            older = _file(path, "pytorch_model.bin", revision)
            tensors = torch.load(older, map_location="cpu", weights_only=True)
    except BackboneError:
        raise
    except Exception as error:  # each reader has its own kinds, down to `Exception`
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BackboneError(
            f"backbone {path!r}: its weights cannot be read ({reason[0]}); fetch the file again"
        ) from error
    return {name: value for name, value in tensors.items() if not name.endswith(_BUFFERS)}


def _file(path: str, name: str, revision: str | None, optional: bool = False) -> Any:
    """A file of a folder, or of the hub by way of its local cache; None where it may be absent.

    Raises BackboneError when it is not there.
    """
    if Path(path).is_dir():
        file = Path(path) / name
        if file.is_file():
            return file
        reason = "the folder has no such file"
    else:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(path, name, revision=revision))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if optional:
        return None
    raise BackboneError(
        f"backbone {path!r}: no {name} ({reason}); give a folder in Hugging Face layout "
        "(config.json, model.safetensors) or the name of a GPT-2 in the hub"
    )


def save(model: GPT2PreTrained, folder: Any) -> None:
    """config.json and model.safetensors, as transformers' class of the same name writes them."""
    from safetensors.torch import save_file

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    dtype = str(model.dtype).removeprefix("torch.")
    config = model.config.to_dict() | {"architectures": [type(model).__name__], "dtype": dtype}
    (place / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensors = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
