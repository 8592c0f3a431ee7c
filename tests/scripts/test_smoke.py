"""The smoke run's parts: tokenizers cut down, models made, figures written as pages."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from tests.report.test_published import folder
from tuneoff.report import write_report

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
WORDS = "The yes and the no of a fine-tuning method: 0.25, (really)?"


@pytest.fixture(scope="module", autouse=True)
def path():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


def whole_tokenizer(folder: Path, kind: str) -> Path:
    """A tokenizer of 3,000 entries, as the published ones are made, trained on our pages."""
    special = ["<pad>", "</s>", "<unk>"]
    if kind == "bpe":
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet)
        trainer.special_tokens = [tokenizers.AddedToken(one, special=True) for one in special]
    else:
        made = tokenizers.Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=3000, special_tokens=special, unk_token="<unk>"
        )
    made.train_from_iterator(TEXTS, trainer)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "short"), [("bpe", "gpt2-medium"), ("unigram", "t5-small")])
def test_a_small_model_reads_with_a_part_of_its_tokenizer(kind, short, tmp_path, monkeypatch):
    import small_models

    whole_folder = whole_tokenizer(tmp_path / "whole", kind)
    monkeypatch.setattr(small_models, "VOCABULARY", 600)
    small_models.make(short, whole_folder, tmp_path / "made")
    whole, cut = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("whole", "made"))
    assert len(whole) == 3000
    assert 600 <= len(cut) <= 700
    assert cut.all_special_tokens == whole.all_special_tokens
    if kind == "bpe":
        assert cut.all_special_ids == whole.all_special_ids
    ids = cut(WORDS).input_ids
    assert cut.decode(ids) == whole.decode(whole(WORDS).input_ids) == WORDS
    assert len(ids) > len(whole(WORDS).input_ids), "the whole one knows longer words"
    model = AutoModel.from_pretrained(tmp_path / "made")
    assert model.get_input_embeddings().num_embeddings == len(cut)
    if kind == "bpe":
        assert len(model.h) == small_models.BLOCKS[short]


def test_a_page_holds_the_figures_and_what_they_are(tmp_path):
    from smoke_pages import Ended, write_pages

    out = folder(tmp_path / "run", scale="smoke")
    write_report(out)
    write_pages([Ended("a-study", out, 90.0, 0)], tmp_path / "pages", 99.0)
    page, overview = (
        (tmp_path / "pages" / name).read_text("utf-8") for name in ("a-study.md", "overview.md")
    )
    assert "**Not a reproduction: smoke scale" in page
    assert "reproduces nothing" in overview
    assert "| [a-study](a-study.md) | 3 | 2 | 1.5 |" in overview
    assert "1.6 minutes in all" in overview  # 99 s
    table = list(csv.DictReader((out / "published.csv").open()))
    rows = [line for line in page.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(table)
    for row, written in zip(rows, table, strict=True):
        _, cell, _, published, ours, *_ = row.replace(r"\|", "/").split("|")
        if written["measure"] == "accuracy":
            assert published.strip() == f"{float(written['published']):.1%}".replace("%", " %")
            shown = f"{float(written['ours']):.1%}".replace("%", " %") if written["ours"] else "–"
            assert ours.strip() == shown
        assert cell.strip() in (
            "",
            f"{written['backbone']} / {written['task']} / {written['method']}",
        )
    assert "as / they say" in rows[0].replace(r"\|", "/")
