"""The scripts that make the built-in backbones: their parts, and a run of each on a few pages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def path():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Three books of this project's own pages, with some praise and blame."""
    from feelings import BLAME, PRAISE

    draw = np.random.default_rng(0)
    judged = ["it is " + " and ".join(draw.choice(side, 3)) + "." for side in (PRAISE, BLAME) * 100]
    folder = tmp_path_factory.mktemp("books")
    pages = sorted((ROOT / "docs").glob("*.md"))
    for number in range(3):
        text = "\n\n".join([*(page.read_text("utf-8") for page in pages[number::3]), *judged])
        (folder / f"{number}.txt").write_text(text, "utf-8")
    return folder


def model_size(folder: Path) -> int:
    """Parameters in the file, tied ones once."""
    from safetensors.torch import load_file

    return sum(value.numel() for value in load_file(folder / "model.safetensors").values())


def test_gaps_hold_what_the_input_lacks():
    import pretrain_encoder_decoder as script

    s, rng = script.Settings(), np.random.default_rng(0)
    ids = rng.integers(100, 8000, (6, 64))
    lost = script.gaps(6, 64, s, rng)
    assert lost.sum(1).tolist() == [16] * 6
    read, said = script.corrupted(ids, lost, s.vocabulary)
    assert read.shape == (6, 64 - 16 + 5 + 1)
    assert said.shape == (6, 16 + 5 + 1)
    for row in range(6):
        gaps: dict[int, list[int]] = {}
        for token in said[row, :-1].tolist():
            if token >= s.vocabulary - script.SENTINELS:
                gaps[token] = []
            else:
                gaps[min(gaps)].append(token)
        whole = [t for token in read[row, :-1].tolist() for t in gaps.get(token, [token])]
        assert whole == ids[row].tolist()
        assert read[row, -1] == said[row, -1] == script.EOS
    assert len({tuple(row) for row in lost.tolist()}) == 6


def test_the_sampled_softmax_estimates_the_whole_one():
    from pretraining import SampledSoftmax

    generator = torch.Generator().manual_seed(0)
    hidden = 0.3 * torch.randn(40, 8, generator=generator, dtype=torch.float64)
    table = torch.randn(800, 8, generator=generator, dtype=torch.float64)
    truth = torch.randint(0, 800, (40,), generator=generator)
    counts = np.arange(800)[::-1].copy()
    whole = SampledSoftmax(counts, 100, 0).loss(hidden, table, truth, np.random.default_rng(0))
    plain = torch.nn.functional.cross_entropy(hidden @ table.T, truth)
    assert torch.allclose(whole, plain, atol=1e-12)
    part = SampledSoftmax(counts, 100, 300)
    drawn = [
        part.loss(hidden, table, truth, np.random.default_rng(seed)).item() for seed in range(40)
    ]
    assert np.mean(drawn) == pytest.approx(plain.item(), abs=0.02)
    assert np.std(drawn) > 1e-3
    few = SampledSoftmax(counts, 100, 300)
    few.seldom = few.seldom[:350]  # negative control: a sample taken to stand for half of the words
    wrong = few.loss(hidden, table, truth, np.random.default_rng(0)).item()
    assert abs(wrong - plain.item()) > 0.3


def test_words_of_feeling_are_found_by_counting():
    from feelings import BLAME, PRAISE, Feelings, polarity

    names = ["[PAD]", *PRAISE, *BLAME, "sunny", "gloomy", "seldom", "the"]
    tokenizer = SimpleNamespace(
        get_vocab=lambda: {name: place for place, name in enumerate(names)}, all_special_ids=[0]
    )
    side = torch.tensor([0.0, *[1.0] * 10, *[-1.0] * 10, 0.8, -0.8, 0.9, 0.9])
    vectors = torch.stack([side, torch.ones(25)], 1)
    counts = np.array([0, *[200] * 22, 50, 9000])
    found = polarity(vectors, counts, tokenizer, most=0.5)
    assert (found > 0).nonzero()[:, 0].tolist() == [*range(1, 11), 21]
    assert (found < 0).nonzero()[:, 0].tolist() == [*range(11, 21), 22]
    torch.manual_seed(0)
    head = Feelings(found, counts, each=10, hidden=2)
    pooled = torch.randn(4, 2)
    row, beside = torch.tensor([0, 1, 1, 3]), torch.tensor([2, 3, 3, 1])
    truth = torch.tensor([1, 12, 24, 15])  # the third is none of feeling
    ours = head.losses(pooled, vectors, row, beside, truth)
    kept = [0, 1, 3]
    at = [head.words.tolist().index(token) for token in truth[kept].tolist()]
    logits = head.named(pooled) @ vectors[head.words].T + head.bias
    named = torch.nn.functional.cross_entropy(logits[row[kept]], torch.tensor(at))
    assert torch.allclose(ours["named"], named)
    praised = head.judged(pooled)[row[kept], 0].sigmoid()
    right = torch.stack([praised[0], 1 - praised[1], 1 - praised[2]])
    judged = -(right.log() * head.weight[at]).mean()
    assert torch.allclose(ours["judged"], judged)
    assert not torch.allclose(ours["judged_beside"], judged)  # negative control: other rows


def test_muons_update_is_nearly_orthogonal():
    from pretraining import orthogonal

    drawn = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(0))
    sizes = torch.linalg.svdvals(orthogonal(drawn))
    assert sizes.min() > 0.6
    assert sizes.max() < 1.3
    assert torch.linalg.svdvals(drawn).max() > 4


def test_paragraphs_of_books_that_break_their_lines(tmp_path):
    from novels import paragraphs

    wrapped = tmp_path / "wrapped.txt"
    wrapped.write_text("One _two_\nthree.\n\nFour\nfive.\n")
    assert paragraphs(wrapped) == ["One two three.", "Four five."]
    long = tmp_path / "long.txt"
    long.write_text(("word " * 40 + "\n") * 2)
    assert len(paragraphs(long)) == 2


@pytest.mark.parametrize("kind", ["encoder", "decoder", "encoder_decoder"])
def test_a_run_makes_a_folder_that_opens_and_has_learned(kind, books, tmp_path, capsys):
    import importlib

    from transformers import AutoModelForCausalLM as Decoder
    from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

    script = importlib.import_module(f"pretrain_{kind}")
    words = ["--novels", str(books), "--out", str(tmp_path / "out"), "--work", str(tmp_path / "w")]
    steps = ["8", "4"] if kind == "encoder" else ["12"]
    script.main([*words, "--steps", *steps, "--vocabulary", "500"])
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    held_out = record["held_out"]
    if kind == "encoder":
        assert held_out["token_loss_64"] < np.log(500) - 0.2
    elif kind == "decoder":  # it begins with the tokens' frequencies, and loses none of that
        assert held_out["held_out_loss_128"] < held_out["unigram_loss"] + 0.3
    else:
        begin = held_out["before_training"]["held_out_loss_gaps"]
        assert held_out["held_out_loss_gaps"] < begin - 0.2
    if kind == "encoder":
        assert [record["phases"][name]["steps"] for name in ("first", "second")] == [8, 4]
    else:
        assert record["steps"] == 12
    about = (tmp_path / "out" / "README.md").read_text()
    assert f"{model_size(tmp_path / 'out'):,}, stored in fp16" in about
    auto = {"encoder": AutoModelForMaskedLM, "decoder": Decoder}
    model, info = auto.get(kind, AutoModelForSeq2SeqLM).from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert all(kind == "encoder" and ".pooler." in key for key in info["unexpected_keys"])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == model.get_input_embeddings().weight.shape[0] == 500
    text = "a study compares methods."
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    if kind == "encoder":
        assert tokenizer.mask_token_id == 4
    elif kind == "decoder":
        assert tokenizer.eos_token_id == model.config.eos_token_id == 499
    else:
        assert ids[-1] == tokenizer.eos_token_id == model.config.eos_token_id == 1
        assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == 499
        assert tokenizer.convert_tokens_to_ids("<extra_id_99>") == 400
    assert "parameters" in capsys.readouterr().out
