"""GPT-2 written out, from the papers, for Hugging Face's weights.

    model = GPT2LMHeadModel.from_pretrained("openai-community/gpt2")   # or a folder
    out = model(input_ids, attention_mask, labels=input_ids)           # padding on either side
    out.loss.backward()
    model.generate(input_ids, attention_mask, max_new_tokens=20)

Padding is never computed: the real tokens of a batch stand end to end through every layer, and are
laid out row by row for attention alone, from the left, where a causal mask hides what is behind
them. Modules are called as in transformers, so checkpoints, methods and adapters fit both.

Sources: Vaswani et al. 2017 (arXiv 1706.03762): attention. Radford et al. 2018, 2019 (GPT, GPT-2):
the decoder, learned positions, tied head; norms in front, one more behind, residual projections
that start 1/sqrt(2 n_layer) as wide. Hendrycks & Gimpel 2016 (arXiv 1606.08415): GELU.

Axes: B rows, L columns of the batch as given, T real tokens, W columns of the longest row, C with
what the cache holds, D features, H heads, E features per head, V words or classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D  # a linear layer with an (I, O) weight; PEFT knows it

from tuneoff.backbones.gpt2_files import ACTIVATIONS, GPT2Config, load, save
from tuneoff.backbones.packed import Packed
from tuneoff.errors import BackboneError, DataError


class Cache:
    """Keys and values of what was read, (B, H, C, E) per block, each row from column 0 on."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.lengths_B: Tensor | None = None
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    @classmethod
    def after(cls, prefix: Any, new_tokens: int) -> Cache:
        """A cache that begins with a trained prefix: keys and values per block, all (B, H, P, E),
        in transformers' own cache (PEFT's prefix tuning makes one)."""
        layers = [(layer.keys, layer.values) for layer in prefix.layers]
        rows, _, length, _ = layers[0][0].shape
        cache = cls(length + new_tokens)
        cache.lengths_B = torch.full((rows,), length, device=layers[0][0].device)
        cache.keys = [F.pad(k, (0, 0, 0, new_tokens)) for k, _ in layers]
        cache.values = [F.pad(v, (0, 0, 0, new_tokens)) for _, v in layers]
        return cache

    def extend(self, block: int, k_TD: Tensor, v_TD: Tensor, heads: int, batch: Packed) -> Any:
        """New tokens into their columns; keys and values as far as any row reaches."""
        if block == len(self.keys):
            shape = (batch.rows, heads, self.capacity, k_TD.shape[1] // heads)
            self.keys.append(k_TD.new_zeros(shape))
            self.values.append(k_TD.new_zeros(shape))
        for whole, new in ((self.keys[block], k_TD), (self.values[block], v_TD)):
            whole[batch.row_T, :, batch.position_T] = new.unflatten(1, (heads, -1))
        return self.keys[block][:, :, : batch.reach], self.values[block][:, :, : batch.reach]

    def advance(self, batch: Packed) -> None:
        """After all blocks: the rows are so much longer."""
        self.lengths_B = batch.position_T[batch.last_B] + 1


class GPT2Attention(nn.Module):
    """Causal multi-head attention: query, key and value of a token in one product."""

    def __init__(self, config: GPT2Config, block: int):
        super().__init__()
        self.heads, self.block = config.n_head, block
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)
        self.attn_dropout = nn.Dropout(config.attn_pdrop)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)
        self.scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= block + 1

    def forward(self, x_TD: Tensor, batch: Packed, cache: Cache | None) -> Tensor:
        q, k, v = self.c_attn(x_TD).split(x_TD.shape[1], dim=1)
        query = batch.grid(q, self.heads)
        if cache is None:
            keys, values, mask = batch.grid(k, self.heads), batch.grid(v, self.heads), None
        else:
            keys, values = cache.extend(self.block, k, v, self.heads, batch)
            mask = batch.sees(keys.shape[2])
        y_BHWE = F.scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            dropout_p=self.attn_dropout.p if self.training else 0.0,
            scale=self.scale,
        )
        return self.resid_dropout(self.c_proj(batch.flat(y_BHWE)))  # type: ignore[no-any-return]


class GPT2MLP(nn.Module):
    """Each token by itself: wider by n_inner / n_embd, GELU, and back."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc = Conv1D(inner, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, inner)
        self.act = ACTIVATIONS[config.activation_function]
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x_TD: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.act(self.c_fc(x_TD))))  # type: ignore[no-any-return]


class GPT2Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, config: GPT2Config, block: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, block)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def forward(self, x_TD: Tensor, batch: Packed, cache: Cache | None) -> Tensor:
        x_TD = x_TD + self.attn(self.ln_1(x_TD), batch, cache)
        return x_TD + self.mlp(self.ln_2(x_TD))  # type: ignore[no-any-return]


class GPT2Model(nn.Module):
    """Words and positions, the blocks, and a last norm."""

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(GPT2Block(config, i) for i in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.gradient_checkpointing = False

    def forward(self, words_TD: Tensor, batch: Packed, cache: Cache | None = None) -> Tensor:
        """(T, D) features; words_TD: the tokens' embeddings."""
        if batch.reach > self.wpe.num_embeddings:
            raise DataError(
                f"GPT-2: a row of {batch.reach} tokens, and the model has "
                f"{self.wpe.num_embeddings} positions; cut the text (max_length)"
            )
        x_TD = self.drop(words_TD + self.wpe(batch.position_T))
        for block in self.h:
            if self.gradient_checkpointing and self.training and cache is None:
                x_TD = checkpoint(block, x_TD, batch, None, use_reentrant=False)
            else:
                x_TD = block(x_TD, batch, cache)
        if cache is not None:
            cache.advance(batch)
        return self.ln_f(x_TD)  # type: ignore[no-any-return]


@dataclass
class Output:
    """What a forward gives; only what the head and the arguments call for is there."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    """(B, L, V) of a language model without labels, (B, V) of a classifier."""
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    """(B, L) of an answer's first and last token; padding has the lowest number there is."""


class GPT2PreTrained(nn.Module):
    """What the three heads share. Subclasses add one layer, `head_name`, and a forward."""

    base_model_prefix: ClassVar = "transformer"
    head_name: ClassVar[str]

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.transformer = GPT2Model(config)

    @classmethod
    def from_config(cls, config: Any, dtype: torch.dtype | None = None) -> Self:
        """A new model, its weights drawn as the paper says. config: ours or transformers'."""
        model = cls(config if isinstance(config, GPT2Config) else GPT2Config.of(config.to_dict()))
        if next(model.parameters()).device.type != "meta":
            for name, parameter in model.named_parameters():
                model.draw(name, parameter.data)
        return model if dtype is None else model.to(dtype)

    @classmethod
    def from_pretrained(cls, path: str, **options: Any) -> Any:
        """The model of a folder or a hub name, in evaluation mode; see `gpt2_files.load`."""
        return load(cls, path, **options)

    def save_pretrained(self, folder: Any) -> None:
        """A folder that transformers' classes of the same name load."""
        save(self, folder)

    @torch.no_grad()
    def draw(self, name: str, values: Tensor) -> None:
        """New values for the parameter `name`, in place."""
        if name.endswith("bias"):
            values.zero_()
        elif ".ln_" in name:
            values.fill_(1.0)
        else:
            std = self.config.initializer_range
            values.normal_(
                0.0, std / math.sqrt(2 * self.config.n_layer) if "c_proj" in name else std
            )

    def tie(self) -> None:
        """Point the output layer at the words' table; models without one have nothing to tie."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the norms: quantized layers hold bytes."""
        return self.transformer.ln_f.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.transformer.ln_f.weight.device

    @property
    def base_model(self) -> GPT2Model:
        """The model without its head."""
        return self.transformer

    def get_input_embeddings(self) -> nn.Embedding:
        """The words' table."""
        return self.transformer.wte

    def get_output_embeddings(self) -> nn.Linear | None:
        """The layer that scores words, where there is one."""
        return None

    def gradient_checkpointing_enable(self, _options: Any = None) -> None:
        """Keep the blocks' inputs alone, and compute their insides again in the backward pass."""
        self.transformer.gradient_checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep everything that the backward pass needs."""
        self.transformer.gradient_checkpointing = False

    def features(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        **others: Any,
    ) -> tuple[Tensor, Packed]:
        """(T, D) features of the real tokens; attention_mask: (B, L), or longer by what stands in
        front of the batch; without one every token is real."""
        asked = {name for name, value in others.items() if value not in (None, False)}
        if unknown := asked - {"return_dict", "use_cache"}:
            raise BackboneError(
                f"our GPT-2 takes no {', '.join(sorted(unknown))}; set implementation: transformers"
            )
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is None or (input_ids is not None and inputs_embeds is not None):
            raise BackboneError("our GPT-2 takes either input_ids or inputs_embeds")
        cache = past_key_values
        if cache is not None and not isinstance(cache, Cache):
            cache = Cache.after(cache, given.shape[1])
        if attention_mask is None:
            attention_mask = torch.ones(given.shape[:2], device=given.device)
        real_BL = attention_mask[:, -given.shape[1] :].long()
        batch = Packed(real_BL, None if cache is None else cache.lengths_B)
        taken = batch.take(given)
        words_TD = self.transformer.wte(taken) if inputs_embeds is None else taken
        return self.transformer(words_TD, batch, cache), batch


class GPT2LMHeadModel(GPT2PreTrained):
    """Scores the next word; the output layer is the words' own table."""

    head_name = "lm_head"

    def __init__(self, config: GPT2Config):
        super().__init__(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.tie()

    def tie(self) -> None:
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        **more: Any,
    ) -> Output:
        """(B, L, V) logits; with labels (B, L), which count from the second token of a row on
        unless -100, the mean loss alone: other tokens are not scored. Arguments: `features`."""
        x_TD, packed = self.features(input_ids, attention_mask, past_key_values, **more)
        if labels is None:
            return Output(logits=packed.put_back(self.lm_head(x_TD)))
        target_T = packed.take(labels).roll(-1)
        target_T[packed.last_B] = -100
        scored = (target_T != -100).nonzero().squeeze(1)
        return Output(loss=F.cross_entropy(self.lm_head(x_TD[scored]), target_T[scored]))

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, cache: Cache | None = None
    ) -> dict[str, Any]:
        """A step's arguments: after the first, the last token of each row alone."""
        if cache is not None and cache.lengths_B is not None:
            input_ids, attention_mask = input_ids[:, -1:], None
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "past_key_values": cache,
        }

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, max_new_tokens: int = 20
    ) -> Tensor:
        """(B, max_new_tokens) the likeliest next words, one after another."""
        cache = Cache(input_ids.shape[1] + max_new_tokens)
        new = []
        for _ in range(max_new_tokens):
            step = self.prepare_inputs_for_generation(input_ids, attention_mask, cache)
            x_TD, packed = self.features(**step)
            new.append(self.lm_head(x_TD[packed.last_B]).argmax(1))
            input_ids = new[-1][:, None]
        return torch.stack(new, 1)


class GPT2ForSequenceClassification(GPT2PreTrained):
    """Classes from the last real token of a row."""

    head_name = "score"

    def __init__(self, config: GPT2Config):
        super().__init__(config)
        self.score = nn.Linear(config.n_embd, config.num_labels, bias=False)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        **more: Any,
    ) -> Output:
        """(B, V) logits; with labels (B,) the mean loss too. Arguments: `features`."""
        x_TD, packed = self.features(input_ids, attention_mask, past_key_values, **more)
        logits = self.score(x_TD[packed.last_B])
        return Output(None if labels is None else F.cross_entropy(logits, labels), logits)


class GPT2ForQuestionAnswering(GPT2PreTrained):
    """Scores every token as the first and as the last of an answer."""

    head_name = "qa_outputs"

    def __init__(self, config: GPT2Config):
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.n_embd, 2)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **more: Any,
    ) -> Output:
        """(B, L) logits each; with positions (B,), columns of the batch, the mean of both losses
        over the real tokens. A position outside of the batch does not count. Arguments:
        `features`."""
        x_TD, packed = self.features(input_ids, attention_mask, past_key_values, **more)
        logits_BL2 = packed.put_back(self.qa_outputs(x_TD))
        real_BL = packed.put_back(torch.ones_like(packed.source_T)).bool()
        lowest = torch.finfo(logits_BL2.dtype).min
        start, end = logits_BL2.masked_fill(~real_BL[..., None], lowest).unbind(2)
        if start_positions is None or end_positions is None:
            return Output(start_logits=start, end_logits=end)
        outside = start.shape[1]
        first, last = (
            F.cross_entropy(logits, at.clamp(0, outside), ignore_index=outside)
            for logits, at in ((start, start_positions), (end, end_positions))
        )
        return Output((first + last) / 2, start_logits=start, end_logits=end)


CLASSES: dict[str, type[GPT2PreTrained]] = {
    "causal_lm": GPT2LMHeadModel,
    "sequence_classification": GPT2ForSequenceClassification,
    "question_answering": GPT2ForQuestionAnswering,
}
"""By what the engine calls a head."""
