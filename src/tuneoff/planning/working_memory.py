"""Predicted working memory of one pass: what stands beside the weights and what is trained, while
a batch trains, while one is read in evaluation, and while one is answered in text.

Counted over the modules at hand and the lengths of real texts, after what autograd keeps
(Korthikanti et al. 2022, arXiv 2205.05198, section 4) and what the engine holds:
`training.attention`, `training.evaluation`, `training.kv_cache`, `training.steps`. A tracker of
every tensor's storage confirmed the terms; docs/running.md has the error that is left.

Per token of the input, unless said; numbers, not bytes.
"""

from __future__ import annotations

from tuneoff.planning.facts import BackboneFacts, DataFacts, MethodFacts, SiteFacts
from tuneoff.runs import RunSpec

TRAINED_LOGITS = 4
"""Numbers per logit at the backward pass's begin: the logits, their logarithms, and the gradients
of both."""
READ_LOGITS = 2
"""Numbers per logit in evaluation: the logits and their logarithms."""
WRITTEN_LOGITS = 3
"""Numbers per logit while writing: a step's, those of the step before, and their logarithms."""
DRAWN_LOGITS = 11
"""The same for draws: sorted scores, their places (64 bits), shares and sums in 64 bits, and one
more of those."""
_SCORES = 3
"""Numbers per attention score that training keeps where weights are dropped: the weights, the mask
and what is left."""
_PADDING = {"cpu": 1.15, "cuda": 1.4}
"""Padded places of attention over real tokens: groups of like length on a CPU, one on CUDA."""
_PADDED_BATCH, _PADDED_SPLIT = 1.3, 1.05
"""The same for whole models: sorted parts of a batch, and a whole split, longest first."""
_PADDED_PARTS = 4


def training_bytes(
    spec: RunSpec,
    backbone: BackboneFacts,
    data: DataFacts,
    method: MethodFacts,
    pass_tokens: int | None = None,
) -> float:
    """One forward and backward pass. pass_tokens: most tokens in it (None: a whole batch)."""
    training, item = spec.training, _item(spec)
    tokens: float = data.batch_tokens(training.micro_batch_size or training.batch_size)
    if backbone.padded:
        parts = _PADDED_PARTS if spec.device == "cpu" and training.batch_size >= 8 else 1
        tokens = max(_PADDED_BATCH * tokens / parts, data.longest)
    if pass_tokens is not None:
        tokens = min(tokens, max(pass_tokens, data.longest))
    length = data.squares["train"] / max(1, data.tokens["train"])
    blocks = _kept_by_block(spec, backbone, data, method, length)
    kept, most = sum(blocks.values()), max(blocks.values(), default=0.0)
    if training.gradient_checkpointing:
        kept = len(blocks) * backbone.hidden + most
    logits = logits_of(backbone, data, method, tokens)
    copies = TRAINED_LOGITS + (2 if training.label_smoothing else 0) + _grown(spec, backbone)
    begin = 4.0 * logits * (copies - (item < 4) / 2) + _output_gradient(backbone, method)
    later = item * (logits + tokens * most / 2)
    return item * tokens * (kept + 2 * backbone.hidden) + max(begin, later)


def evaluation_bytes(
    spec: RunSpec, backbone: BackboneFacts, data: DataFacts, method: MethodFacts, tokens: int
) -> float:
    """One pass of an evaluation over so many tokens at a time."""
    item = _item(spec)
    most = max((count for name, count in data.tokens.items() if name != "train"), default=0)
    read = min(most or data.tokens["train"], tokens + data.longest)
    states = item * read * _passing(backbone, data)
    copies = READ_LOGITS + _grown(spec, backbone)
    return max(states, 4.0 * logits_of(backbone, data, method, read) * copies)


def generation_bytes(spec: RunSpec, backbone: BackboneFacts, data: DataFacts, tokens: int) -> float:
    """One batch of prompts and what is written after them; tokens: as `BATCH_TOKENS`."""
    asked = data.generation
    if asked is None:
        return 0.0
    item = _item(spec)
    each = (asked.longest + asked.new_tokens) * asked.beams
    prompts = min(asked.prompts, max(1, tokens // each))
    rows = prompts * asked.beams
    keys = _keys_and_values(backbone, crossing=False)
    beside = 0.0
    if backbone.kind == "encoder_decoder":
        said = _keys_and_values(backbone, crossing=True) + backbone.hidden
        beside = (rows if backbone.padded else prompts) * asked.longest * said
        cache = rows * asked.new_tokens * keys
        first = prompts * asked.longest * _passing(backbone, data)
    else:
        cache = rows * (asked.longest + asked.new_tokens) * keys
        first = prompts * asked.longest * (keys + _passing(backbone, data))
    copied = cache / max(1, backbone.blocks)  # one block's, while rows leave or columns are added
    copies = DRAWN_LOGITS if asked.draws else WRITTEN_LOGITS
    logits = rows * _vocabulary(backbone)
    step = item * (beside + cache + copied) + 4.0 * logits * (copies + _grown(spec, backbone))
    return max(step, item * first + 4.0 * logits / asked.beams)


def _item(spec: RunSpec) -> int:
    """Bytes of a state: under autocast in 16 bits."""
    return 2 if spec.training.precision in ("bf16", "fp16") else 4


def logits_of(
    backbone: BackboneFacts, data: DataFacts, method: MethodFacts, tokens: float
) -> float:
    """Logits over the vocabulary for so many tokens of the input: of labelled ones alone, but of
    all where a method rewrites the model."""
    if backbone.head not in ("causal_lm", "seq2seq_lm"):
        return 0.0
    share = data.labelled / max(1.0, data.mean_length)
    whole = method.alone and backbone.head == "causal_lm"
    return tokens * _vocabulary(backbone) * (1.0 if whole else share)


def _kept_by_block(
    spec: RunSpec, backbone: BackboneFacts, data: DataFacts, method: MethodFacts, length: float
) -> dict[int, float]:
    """Numbers that autograd keeps of each block from the lowest trained place on."""
    dropout = spec.training.dropout
    drops = backbone.drops and dropout != 0.0
    scored = backbone.drops_attention and dropout != 0.0
    padding = _PADDING[spec.device]
    blocks: dict[int, float] = {}
    for site in backbone.sites:
        if site.kind != "linear" or not method.lowest <= site.block < backbone.blocks:
            continue
        share = backbone.share(site, data)
        kept = _kept(site, drops, padding)
        if site.role == "attention_output" and scored:
            seen = length if share == 1.0 or backbone.crosses(site) else data.said
            kept += _SCORES * backbone.heads * padding * seen
        blocks[site.block] = blocks.get(site.block, 0.0) + share * kept
    return blocks


def _kept(site: SiteFacts, drops: bool, padding: float) -> float:
    """Of one linear module: what attention keeps of queries, keys and values; what goes into an
    activation and what comes out; of the two modules that end in a residual a dropout mask, the
    sum, and its normalization."""
    if site.role in ("query", "key", "value", "qkv"):
        return site.outputs * padding
    if site.role in ("ffn_up", "ffn_gate"):
        return 2.0 * site.outputs
    inside = site.inputs if site.role == "attention_output" else 0
    return inside + site.outputs * (3.0 if drops else 2.0)


def _passing(backbone: BackboneFacts, data: DataFacts) -> float:
    """Numbers that one block needs at once where nothing is kept: in attention, or beside it."""
    inside: dict[int, float] = {}
    beside: dict[int, float] = {}
    for site in backbone.sites:
        if site.kind != "linear" or not 0 <= site.block < backbone.blocks:
            continue
        count = 2.0 * site.outputs * backbone.share(site, data)
        if site.role in ("query", "key", "value", "qkv", "attention_output"):
            inside[site.block] = inside.get(site.block, 2.0 * backbone.hidden) + count
        elif site.role in ("ffn_up", "ffn_gate"):
            beside[site.block] = beside.get(site.block, 3.0 * backbone.hidden) + count
    widest = max([*inside.values(), *beside.values()], default=4.0 * backbone.hidden)
    if backbone.padded:
        widest = _PADDED_SPLIT * widest + 2.0 * backbone.heads * data.longest
    return widest


def _keys_and_values(backbone: BackboneFacts, crossing: bool) -> float:
    """Numbers in the cache per token, over all blocks that write."""
    count = 0.0
    for site in backbone.sites:
        writes = site.block >= (backbone.writer or 0)
        if site.kind == "linear" and writes and backbone.crosses(site) == crossing:
            share = {"key": 1.0, "value": 1.0, "qkv": 2 / 3}.get(site.role, 0.0)
            count += share * site.outputs
    return count


def _vocabulary(backbone: BackboneFacts) -> int:
    """Width of the output layer."""
    return max((s.outputs for s in backbone.sites if s.kind == "linear"), default=0)


def _grown(spec: RunSpec, backbone: BackboneFacts) -> int:
    """One copy more of logits where the task adds tokens: their logits are put behind the rest."""
    return int(bool(spec.task.settings.new_tokens(backbone.head)))


def _output_gradient(backbone: BackboneFacts, method: MethodFacts) -> float:
    """Bytes of the gradient of a trained output layer, which waits for that of the embeddings."""
    if backbone.head not in ("causal_lm", "seq2seq_lm") or not method.trains_embeddings:
        return 0.0
    return 4.0 * _vocabulary(backbone) * backbone.hidden
