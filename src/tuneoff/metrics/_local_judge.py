"""A local model as a judge: its most likely reply to each prompt, by transformers' `generate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_REPLY_TOKENS = 8  # an integer and its end


def replies(
    model: str, prompts: Sequence[str], max_tokens: int | None, batch_size: int
) -> Iterator[tuple[str, str]]:
    """Pairs of prompt and reply, longest prompts first. A chat template is used where there is one.

    Raises BackboneError when the model cannot be had.
    """
    import torch
    import transformers

    from tuneoff.backbones.backbone import BackboneOptions, kind_of, load_tokenizer
    from tuneoff.backbones.plain import load_plain

    options = BackboneOptions(model)
    both = kind_of(options) == "encoder_decoder"
    auto = transformers.AutoModelForSeq2SeqLM if both else transformers.AutoModelForCausalLM
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judge = load_plain(options, auto).to(device)
    tokenizer = load_tokenizer(options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right" if both else "left"
    new = max_tokens or _REPLY_TOKENS
    places = getattr(judge.config, "max_position_embeddings", None)
    # A long prompt loses its beginning: what is asked for stands at the end.
    tokenizer.truncation_side = "left"
    cut = {"truncation": True, "max_length": places - new} if places and not both else {}
    for at in range(0, len(prompts), batch_size):
        part = sorted(prompts, key=len, reverse=True)[at : at + batch_size]
        texts = [_asked(tokenizer, prompt) for prompt in part]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, **cut).to(device)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            found = judge.generate(
                **inputs, max_new_tokens=new, do_sample=False, num_beams=1,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
        start = 0 if both else inputs["input_ids"].shape[1]
        for prompt, ids in zip(part, found[:, start:], strict=True):
            yield prompt, tokenizer.decode(ids, skip_special_tokens=True)


def _asked(tokenizer, prompt: str) -> str:  # type: ignore[no-untyped-def]
    if not tokenizer.chat_template:
        return prompt
    turn = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return text
