"""Questions made of few words, with answers in contexts of several windows; and transformers'
`run_qa.py` (examples/pytorch/question-answering), written out once more for comparison."""

from __future__ import annotations

import collections
import json
from typing import Any

import numpy as np

from tests.data.tokenizers import _WORDS, SHARED

COLUMNS = ["question", "context"]


def made_rows(count: int = 30, seed: int = 0) -> list[dict[str, Any]]:
    """Rows in the hub's form; contexts of 5 to 120 words."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        words = rng.choice([*_WORDS, "42", "zebra"], int(rng.integers(5, 120)))
        context = " ".join(words)
        first = int(rng.integers(len(words) - 2))
        answer = " ".join(words[first : first + int(rng.integers(1, 3))])
        start = len(" ".join(words[:first])) + (first > 0)
        answers = {"text": [answer, answer.upper()], "answer_start": [start, start]}
        question = " ".join(rng.choice(_WORDS, int(rng.integers(2, 6)))) + " ?"
        rows.append(
            {"id": str(number), "question": question, "context": context, "answers": answers}
        )
    return rows


def real_rows(count: int) -> list[dict[str, Any]]:
    """The first questions of SQuAD's dev part; none where the data is not there."""
    path = SHARED / "squad" / "dev-v1.1.json"
    if not path.exists():
        return []
    rows = [
        {
            "id": one["id"],
            "question": one["question"],
            "context": paragraph["context"],
            "answers": {key: [a[key] for a in one["answers"]] for key in ("text", "answer_start")},
        }
        for article in json.loads(path.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for one in paragraph["qas"]
    ]
    return rows[:: max(1, len(rows) // count)][:count]


def run_qa_train(tokenizer: Any, rows: list[dict[str, Any]], max_length: int, stride: int) -> Any:
    """`prepare_train_features`, without padding."""
    tokenized = tokenizer(
        [row["question"].lstrip() for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    sample_mapping = tokenized["overflow_to_sample_mapping"]
    starts, ends = [], []
    for i, offsets in enumerate(tokenized["offset_mapping"]):
        input_ids = tokenized["input_ids"][i]
        if tokenizer.cls_token_id in input_ids:
            cls_index = input_ids.index(tokenizer.cls_token_id)
        elif tokenizer.bos_token_id in input_ids:
            cls_index = input_ids.index(tokenizer.bos_token_id)
        else:
            cls_index = 0
        sequence_ids = tokenized.sequence_ids(i)
        answers = rows[sample_mapping[i]]["answers"]
        start_char = answers["answer_start"][0]
        end_char = start_char + len(answers["text"][0])
        token_start_index = 0
        while sequence_ids[token_start_index] != 1:
            token_start_index += 1
        token_end_index = len(input_ids) - 1
        while sequence_ids[token_end_index] != 1:
            token_end_index -= 1
        last = token_end_index
        if not (
            offsets[token_start_index][0] <= start_char and offsets[token_end_index][1] >= end_char
        ):
            starts.append(cls_index)
            ends.append(cls_index)
            continue
        # run_qa.py runs on into the special tokens after the context, whose offsets are (0, 0)
        while token_start_index <= last and offsets[token_start_index][0] <= start_char:
            token_start_index += 1
        starts.append(token_start_index - 1)
        while offsets[token_end_index][1] >= end_char:
            token_end_index -= 1
        ends.append(token_end_index + 1)
    return tokenized, sample_mapping, list(zip(starts, ends, strict=True))


def run_qa_answers(
    rows: list[dict[str, Any]],
    tokenized: Any,
    sample_mapping: list[int],
    logits: list[np.ndarray],
    n_best_size: int,
    max_answer_length: int,
) -> list[str]:
    """`postprocess_qa_predictions` of `utils_qa.py`, SQuAD v1.1."""
    features_per_example = collections.defaultdict(list)
    for i, row in enumerate(sample_mapping):
        features_per_example[row].append(i)
    texts = []
    for example_index, example in enumerate(rows):
        prelim_predictions = []
        for feature_index in features_per_example[example_index]:
            start_logits, end_logits = logits[feature_index].T
            sequence_ids = tokenized.sequence_ids(feature_index)
            offset_mapping = [
                (o if sequence_ids[k] == 1 else None)
                for k, o in enumerate(tokenized["offset_mapping"][feature_index])
            ]
            start_indexes = np.argsort(start_logits)[-1 : -n_best_size - 1 : -1].tolist()
            end_indexes = np.argsort(end_logits)[-1 : -n_best_size - 1 : -1].tolist()
            for start_index in start_indexes:
                for end_index in end_indexes:
                    if (
                        start_index >= len(offset_mapping)
                        or end_index >= len(offset_mapping)
                        or offset_mapping[start_index] is None
                        or offset_mapping[end_index] is None
                    ):
                        continue
                    if end_index < start_index or end_index - start_index + 1 > max_answer_length:
                        continue
                    prelim_predictions.append(
                        {
                            "offsets": (
                                offset_mapping[start_index][0],
                                offset_mapping[end_index][1],
                            ),
                            "score": start_logits[start_index] + end_logits[end_index],
                        }
                    )
        predictions = sorted(prelim_predictions, key=lambda x: x["score"], reverse=True)
        predictions = predictions[:n_best_size]
        for pred in predictions:
            start, end = pred.pop("offsets")
            pred["text"] = example["context"][start:end]
        if not predictions:  # "empty" in run_qa.py
            predictions.insert(0, {"text": "", "score": 0.0})
        texts.append(predictions[0]["text"])
    return texts
