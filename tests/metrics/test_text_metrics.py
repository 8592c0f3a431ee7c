"""Scores of texts equal the library or script of reference, whole and in evaluation batches."""

import collections
import re
import string

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from tests.metrics.texts import corpora, made, of_parts, predicted, summaries
from tuneoff import registry
from tuneoff.metrics import evaluate
from tuneoff.training.evaluation import final_scores

ROUGE = ["rouge1", "rouge2", "rougeL"]


# What SQuAD v1.1's evaluate-v1.1.py does, function by function.
def normalize_answer(s):
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def f1_score(prediction, ground_truth):
    prediction_tokens = normalize_answer(prediction).split()
    ground_truth_tokens = normalize_answer(ground_truth).split()
    common = collections.Counter(prediction_tokens) & collections.Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def exact_match_score(prediction, ground_truth):
    return normalize_answer(prediction) == normalize_answer(ground_truth)


def squad(compare, rows):
    pairs = zip(rows.texts, rows.references, strict=True)
    return np.mean([max(compare(text, one) for one in many) for text, many in pairs])


def rouge(kind, rows, split=False):
    scorer = rouge_scorer.RougeScorer([kind], use_stemmer=True, split_summaries=split)
    pairs = zip(rows.texts, rows.references, strict=True)
    return np.mean([scorer.score_multi(many, text)[kind].fmeasure for text, many in pairs])


def bleu_score(metric, rows):
    most = max(map(len, rows.references))
    streams = [[m[i] if i < len(m) else None for m in rows.references] for i in range(most)]
    return metric.corpus_score(list(rows.texts), streams).score


ORACLES = {
    "exact_match": lambda rows: squad(exact_match_score, rows),
    "token_f1": lambda rows: squad(f1_score, rows),
    **{kind: lambda rows, kind=kind: rouge(kind, rows) for kind in ROUGE},
    "bleu": lambda rows: bleu_score(sacrebleu.BLEU(), rows),
    "chrf": lambda rows: bleu_score(sacrebleu.CHRF(), rows),
}


@pytest.mark.parametrize("name", ORACLES)
def test_scores_equal_the_reference_whole_and_in_batches(name):
    metric = registry.get("metrics", name)()
    for rows in corpora():
        expected = ORACLES[name](rows)
        assert evaluate([name], rows)[name] == pytest.approx(expected, abs=1e-9)
        for size in (1, 16):
            assert of_parts(metric, rows, size) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", [*ORACLES, "rougeLsum"])
def test_one_changed_word_changes_the_score(name):
    right = ["a red house stands here", "yes it is"]
    rows = predicted(right, [[text] for text in right])
    changed = predicted(["a red horse stands here", "yes it is"], rows.references)
    assert evaluate([name], rows)[name] == pytest.approx(registry.get("metrics", name).bounds[1])
    assert evaluate([name], changed)[name] < evaluate([name], rows)[name]


@pytest.mark.parametrize("name", ["exact_match", "token_f1", *ROUGE, "rougeLsum"])
def test_a_row_without_references_scores_nothing(name):
    assert evaluate([name], predicted(["a word"], [[]]))[name] == 0


def test_rouge_lsum_reads_lines_as_sentences():
    rows = predicted(["b one.\na two."], [["a two.\nb one."]])
    assert evaluate(["rougeLsum"], rows)["rougeLsum"] == rouge("rougeLsum", rows) == 1
    assert evaluate(["rougeL"], rows)["rougeL"] < 1


def test_rouge_lsum_splits_a_single_line_into_sentences():
    flat = predicted(["B is one. A is two."], [["A is two. B is one."]])
    assert evaluate(["rougeLsum"], flat)["rougeLsum"] == 1
    assert rouge("rougeLsum", flat) < 1  # the library alone takes it for one sentence


def test_rouge_lsum_equals_the_library_on_real_lines():
    rows = summaries()
    if rows is None:
        pytest.skip("no real summaries beside the project")
    lined = predicted([t.replace(". ", ".\n") for t in rows.texts], rows.references)
    lined = lined.take([i for i, many in enumerate(lined.references) if "\n" in many[0]])
    assert len(lined) > 10
    score = evaluate(["rougeLsum"], lined)["rougeLsum"]
    assert score == pytest.approx(rouge("rougeLsum", lined), abs=1e-9)
    assert score != pytest.approx(rouge("rougeL", lined), abs=1e-3)


def test_stemming_is_on():
    rows = predicted(["running dogs"], [["run dog"]])
    plain = rouge_scorer.RougeScorer(["rouge1"]).score("run dog", "running dogs")
    assert evaluate(["rouge1"], rows)["rouge1"] == 1
    assert plain["rouge1"].fmeasure == 0


def test_signatures_are_sacrebleus():
    for name, oracle in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
        for rows, references in ((made(), "nrefs:var"), (made().take([3, 4]), "nrefs:1")):
            bleu_score(oracle, rows)
            _, details = final_scores([name], rows, "test")
            assert details[name]["signature"] == oracle.get_signature().format()
            assert references in details[name]["signature"]


def test_mean_batch_perplexity_is_that_of_a_loop_over_batches():
    random = np.random.default_rng(0)
    rows = predicted([""] * 35, [[""]] * 35)
    rows = rows.__class__(losses=random.exponential(3, 35), tokens=random.integers(1, 40, 35))
    part = registry.get("metrics", "mean_batch_perplexity")
    for size in (1, 2, 8, 16, 35):
        metric, means = part(batch_size=size), []
        for at in range(0, 35, size):
            losses, tokens = rows.losses[at : at + size], rows.tokens[at : at + size]
            means.append((losses * tokens).sum() / tokens.sum())
        assert metric.score(rows) == pytest.approx(np.exp(np.mean(means)), rel=1e-12)
        assert of_parts(metric, rows, 2 * size) == pytest.approx(metric.score(rows), rel=1e-12)
    weighted = evaluate(["perplexity"], rows)["perplexity"]
    assert part(batch_size=1).score(rows) != pytest.approx(weighted, rel=1e-3)
    assert part(batch_size=35).score(rows) == pytest.approx(weighted, rel=1e-12)


def test_mean_batch_perplexity_moves_with_rows_as_a_mean_does():
    """With as many tokens in every row, a row's part is its own loss, whatever the batch size."""
    rows = predicted(["", "", "", ""], [[""]] * 4)
    rows = rows.__class__(losses=np.array([1.0, 2.0, 4.0, 8.0]), tokens=np.full(4, 7))
    table = registry.get("metrics", "mean_batch_perplexity")(batch_size=2).statistics(rows)
    assert table[:, 0] / table[:, 1] == pytest.approx(rows.losses)
