"""The code of a model card: how PEFT and transformers load a winner, and ask it. It runs as it
stands, but for the place of the folder."""

from __future__ import annotations

import json

from tuneoff.backbones.names import CLASSIFIERS, folder_of
from tuneoff.winner.generation_file import FILE as GENERATION
from tuneoff.winner.manifest import Manifest

_CLASSES = {
    "causal_lm": "AutoModelForCausalLM",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
    "question_answering": "AutoModelForQuestionAnswering",
    "encoder_classification": "AutoEncoderClassifier",
}


def is_pair(manifest: Manifest) -> bool:
    """Whether the model is an encoder twice."""
    return manifest.kind == "encoder" and manifest.head == "seq2seq_lm"


def peft_code(manifest: Manifest, heads: list[str]) -> str:
    """The adapter on its backbone. heads: sites that were trained whole, and are not quantized."""
    options = manifest.backbone.options
    base = str(folder_of(manifest.backbone.path) or manifest.backbone.path)
    loader, others = loader_class(manifest), [*_others(manifest)]
    before, arguments = [], [repr(base)]
    if _classifies(manifest):
        names = json.dumps(manifest.classes, ensure_ascii=False)
        before.append(f"names = dict(enumerate({names}))")
        arguments += [f"num_labels={len(manifest.classes)}", "id2label=names"]
    elif manifest.head == "question_answering":
        arguments.append("num_labels=2")
        if manifest.backbone.architecture == "llama":  # its body has another name there
            arguments.append('key_mapping={r"^model\\.": "transformer."}')
    if options.get("revision"):
        arguments.append(f"revision={options['revision']!r}")
    arguments.append(f"dtype=torch.{options['dtype']}")
    if options["quantization"] != "none":
        others.append("BitsAndBytesConfig")
        before.append(_quantization_code(manifest, heads))
        arguments.append("quantization_config=quantization")
    load = f"base = {loader}.from_pretrained({', '.join(arguments)})"
    if is_pair(manifest):
        loader = "EncoderDecoderModel"
        load = (
            f"base = {loader}.from_encoder_decoder_pretrained({arguments[0]}, {arguments[0]})\n"
            "base.encoder.pooler = None"
        )
    lines = [
        "import torch",
        "from peft import PeftModel",
        *_imports(loader, others),
    ]
    return "\n".join([
        *lines, "", *before, load,
        'model = PeftModel.from_pretrained(base, "FOLDER").eval()',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")', _ask_code(manifest, "FOLDER"),
    ])  # fmt: skip


def _quantization_code(manifest: Manifest, heads: list[str]) -> str:
    options = manifest.backbone.options
    kept = json.dumps([*heads, "lm_head"])
    skip = f"llm_int8_skip_modules={kept},  # a new head must not be quantized"
    if options["quantization"] == "int8":
        return f"quantization = BitsAndBytesConfig(\n    load_in_8bit=True,\n    {skip}\n)"
    return (
        f"quantization = BitsAndBytesConfig(\n    load_in_4bit=True, bnb_4bit_quant_type="
        f'"{options["quantization"]}", bnb_4bit_use_double_quant={options["double_quantization"]},'
        f"\n    bnb_4bit_compute_dtype=torch.{options['compute_dtype']},\n    {skip}\n)"
    )


def plain_code(manifest: Manifest, folder: str) -> str:
    """A whole model."""
    return "\n".join([
        "import torch", *_imports(loader_class(manifest), _others(manifest)), "",
        f'model = {loader_class(manifest)}.from_pretrained("{folder}").eval()',
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")', _ask_code(manifest, folder),
    ])  # fmt: skip


def _classifies(manifest: Manifest) -> bool:
    return manifest.head in (None, *CLASSIFIERS)


def _writes(manifest: Manifest) -> bool:
    task = manifest.make_task()
    return manifest.head is not None and task.generation_for(manifest.head) is not None


def loader_class(manifest: Manifest) -> str:
    """The class that loads the model: ours where transformers has none."""
    if manifest.task.settings.get("head_on") == "encoder":
        return "AutoEncoderClassifier"
    return _CLASSES.get(str(manifest.head), "AutoModelForSequenceClassification")


def _others(manifest: Manifest) -> list[str]:
    return ["AutoTokenizer", *(["GenerationConfig"] if _writes(manifest) else [])]


def _imports(loader: str, others: list[str]) -> list[str]:
    if loader == "AutoEncoderClassifier":
        own = f"from tuneoff.backbones.encoder_classifier import {loader}"
        return [f"from transformers import {', '.join(others)}", own]
    return [f"from transformers import {', '.join([loader, *others])}"]


def _ask_code(manifest: Manifest, folder: str) -> str:
    """What the model is asked, and how its answer is read."""
    if _classifies(manifest):
        return _class_code(manifest)
    if manifest.head == "question_answering":
        return _span_code(manifest)
    text = manifest.make_task().example(manifest.head, manifest.kind or "decoder")  # type: ignore[arg-type]
    if text is None:
        return ""
    asked = f'batch = tokenizer({json.dumps(text, ensure_ascii=False)}, return_tensors="pt")'
    if _writes(manifest):
        return "\n".join([asked, *_write_code(manifest, folder)])
    if manifest.classes:
        return "\n".join([asked, *_word_code(manifest)])
    return "\n".join([
        asked, "with torch.no_grad():",
        '    loss = model(**batch, labels=batch["input_ids"]).loss', "print(float(loss))",
    ])  # fmt: skip


def _class_code(manifest: Manifest) -> str:
    texts = '["first text", "second text"]'
    pair = ', ["its pair", "its pair"]' if len(manifest.data.texts) > 1 else ""
    cut = f", truncation=True, max_length={manifest.max_length}" if manifest.max_length else ""
    return (
        "model.config.pad_token_id = tokenizer.pad_token_id\n"
        f'batch = tokenizer({texts}{pair}, padding=True{cut}, return_tensors="pt")\n'
        "with torch.no_grad():\n"
        "    chosen = model(**batch).logits.argmax(-1)\n"
        "print([model.config.id2label[int(index)] for index in chosen])"
    )


def _span_code(manifest: Manifest) -> str:
    asked = "question, context"
    if manifest.kind == "decoder":
        asked = "question + tokenizer.eos_token + context"
    return (
        'question, context = "Who came home?", "Mary came home late."\n'
        f'batch = tokenizer({asked}, return_tensors="pt")\n'
        "with torch.no_grad():\n"
        "    made = model(**batch)\n"
        "first, last = int(made.start_logits.argmax()), int(made.end_logits.argmax())\n"
        'print(tokenizer.decode(batch["input_ids"][0, first : last + 1]))'
    )


def _write_code(manifest: Manifest, folder: str) -> list[str]:
    new = "written[0]"
    if manifest.head == "causal_lm":
        new = 'written[0, batch["input_ids"].shape[1] :]'
    return [
        'batch.pop("token_type_ids", None)',
        f'settings = GenerationConfig.from_pretrained("{folder}")  # {GENERATION}',
        "written = model.generate(**batch, generation_config=settings)",
        f"print(tokenizer.decode({new}, skip_special_tokens=True))",
    ]


def _word_code(manifest: Manifest) -> list[str]:
    words = json.dumps(manifest.task.settings["verbalizers"], ensure_ascii=False)
    begin = ""
    if manifest.head == "seq2seq_lm":
        begin = ", decoder_input_ids=torch.tensor([[model.config.decoder_start_token_id]])"
    return [
        f"words = {words}",
        "with torch.no_grad():",
        f"    logits = model(**batch{begin}).logits[0, -1]",
        "ids = {name: tokenizer(word, add_special_tokens=False)['input_ids'][0]"
        " for name, word in words.items()}",
        "print(max(ids, key=lambda name: logits[ids[name]]))",
    ]
