"""Judge: another model scores every answer from 0 to 100, given the input and the right answer.

    metric:
      judge: {endpoint: "https://host/v1", model: NAME, api_key_env: JUDGE_KEY}   # or
      judge: {model: ./folder}                                                    # a local model

The texts of the data are sent to the endpoint that the study names, and nowhere else. Replies are
kept on disk: the score of the same answers can be had again without asking. What gets no reply, or
a reply that is no integer from 0 to 100, is left out of the mean and counted in the record; a run
is never lost by it.

Source: the prompt is that of the study "CS7643: LoRA Finetuning on GPT-2", appendix, word for word;
it reports that scores vary from call to call (60, then 70), so several samples are taken.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from tuneoff.backbones.names import whole_path
from tuneoff.errors import BackboneError, TuneoffError
from tuneoff.metrics import Metric, Predicted
from tuneoff.metrics._endpoint import Endpoint, Unanswered
from tuneoff.metrics._replies import Replies

PROMPT = (
    "Given the input {input} and correct output {output}, score the model response {response} on a "
    "scale from 0 to 100, where 100 is the best score. Respond with the integer number only."
)
_SHOWN = 3  # bad replies, and reasons for none, that the record gives


class Judge(Metric):
    """Mean score of the answers, 0 to 100; an answer's is the mean of its samples."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/]")
    """Base address of an OpenAI-compatible service, such as `http://127.0.0.1:8000/v1`;
    `/chat/completions` is added. Null: the judge is a local model."""
    model: str | None = None
    """The model's name at the endpoint; without one a folder, a built-in or a hub name."""
    api_key_env: str | None = None
    """The environment variable that holds the key; null sends none."""
    prompt: str = PROMPT
    """What is asked; `{input}`, `{output}` (the first reference) and `{response}` are put in."""
    samples: int = Field(default=3, gt=0, le=100)
    """Replies per answer, whose spread the record gives. A local model replies greedily, once."""
    temperature: float | None = Field(default=None, ge=0)
    """Null leaves it to the service, as the study did."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Longest reply; null leaves it to the service, and gives a local model 8."""
    concurrency: int = Field(default=4, gt=0, le=256)
    """Requests at a time."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """For one request, reply included."""
    attempts: int = Field(default=6, gt=0, le=100)
    """For one reply; waits between them double from a second, or are what `Retry-After` says."""
    minutes: float = Field(default=30.0, gt=0)
    """For all answers of a run; who is not judged by then is left out, and counted."""
    batch_size: int = Field(default=8, gt=0)
    """Prompts at a time of a local model."""
    cache: str | None = None
    """Folder of the replies; null takes `judge` in tuneoff's cache folder."""

    title = "judge (0 to 100)"
    needs = "texts"
    bounds = (0.0, 100.0)
    summed = True
    at_the_end = True

    @field_validator("prompt")
    @classmethod
    def _has_places(cls, prompt: str) -> str:
        if missing := [name for name in ("{output}", "{response}") if name not in prompt]:
            raise ValueError(f"must contain {' and '.join(missing)}")
        return prompt

    @field_validator("model")
    @classmethod
    def _find_folder(cls, model: str | None, info: ValidationInfo) -> str | None:
        if model is None or info.data.get("endpoint") is not None:
            return model
        return whole_path(model, (info.context or {}).get("folder"))

    def problems(self) -> list[str]:
        if self.model is None:
            return [
                "model: is not given; name the model at an `endpoint`, or a local one (a folder of "
                "a decoder or an encoder-decoder)"
            ]
        if self.endpoint is None:
            return self._local_problems()
        if self.api_key_env and not os.environ.get(self.api_key_env):
            return [
                f"api_key_env: the environment variable {self.api_key_env} is not set; set it to "
                "the endpoint's key, or leave the setting out"
            ]
        return []

    def _local_problems(self) -> list[str]:
        from tuneoff.backbones.backbone import BackboneOptions, kind_of

        for name in ("api_key_env", "temperature"):
            if getattr(self, name) is not None:
                return [f"{name}: has no effect on a local model; leave it out or give `endpoint`"]
        try:
            kind = kind_of(BackboneOptions(str(self.model)))
        except BackboneError as error:
            return [f"model: {error}"]
        if kind == "encoder":
            return [f"model: must be a model that generates; {self.model} is an encoder"]
        return []

    def identity(self) -> dict[str, Any]:
        from tuneoff.identity import backbone_fingerprint

        decisive = {"prompt", "samples", "temperature", "max_tokens"}
        local = self.endpoint is None and self.model is not None
        model = backbone_fingerprint(str(self.model), None) if local else self.model
        return {"model": model, "local": local, **self.model_dump(include=decisive)}

    def statistics(self, rows: Predicted) -> np.ndarray:
        """(n, 2): an answer's mean score and 1; zeros where it has none."""
        found = self._judged(rows)
        judged = ~np.isnan(found.means)
        return np.stack([np.nan_to_num(found.means), judged], axis=1).astype(np.float64)

    def from_sums(self, sums_BS: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            means: np.ndarray = sums_BS[:, 0] / sums_BS[:, 1]
        return means

    def details(self, rows: Predicted) -> dict[str, Any]:
        return dict(self._judged(rows).details)

    def _judged(self, rows: Predicted) -> Judged:
        if self.model is None:
            raise TuneoffError(f"the judge cannot be asked: {self.problems()[0]}")
        return _judged(self, tuple(self._prompts(rows)))

    def _prompts(self, rows: Predicted) -> Iterator[str]:
        assert rows.texts is not None
        assert rows.references is not None
        for row, text in enumerate(rows.texts):
            given = {
                "input": rows.prompts[row] if rows.prompts is not None else "",
                "output": rows.references[row][0] if len(rows.references[row]) else "",
                "response": text,
            }
            parts = re.split(r"\{(input|output|response)\}", self.prompt)
            parts[1::2] = [given[name] for name in parts[1::2]]
            yield "".join(parts)


@dataclass(frozen=True)
class Judged:
    """(n,) mean score of each answer, not a number where it has none; and how they came about."""

    means: np.ndarray
    details: dict[str, Any]


@dataclass
class _Asked:
    """Replies by (prompt, sample); why others have none; and what it took."""

    replies: dict[tuple[str, int], str] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Any] = field(default_factory=dict)


def grade(reply: str) -> int | None:
    """The integer from 0 to 100 that a reply is; None for any other reply."""
    found = re.fullmatch(r"\s*([0-9]{1,3})\s*", reply)
    return int(found[1]) if found and int(found[1]) <= 100 else None


@lru_cache(maxsize=1)  # scores and their details are one judgement
def _judged(judge: Judge, prompts: tuple[str, ...]) -> Judged:
    samples = judge.samples if judge.endpoint is not None else 1
    questions = list(dict.fromkeys((p, sample) for p in prompts for sample in range(samples)))
    local = judge.identity()["model"] if judge.endpoint is None else None
    cache = Replies(
        judge.cache,
        model=local or judge.model,
        temperature=judge.temperature,
        max_tokens=judge.max_tokens,
    )
    asked = _Asked()
    for question in questions:
        if (reply := cache.get(*question)) is not None:
            asked.replies[question] = reply
    asked.counts["from_cache"] = len(asked.replies)
    missing = [question for question in questions if question not in asked.replies]
    if missing and judge.endpoint is None:
        found = _local_judge_replies(judge, [prompt for prompt, _ in missing])
        for prompt, reply in found:
            asked.replies[prompt, 0] = reply
            cache.put(prompt, 0, reply)
    elif missing:
        _ask(judge, missing, cache, asked)
    grades = {question: grade(reply) for question, reply in asked.replies.items()}
    table = np.array(
        [[_number(grades.get((p, sample))) for sample in range(samples)] for p in prompts]
    ).reshape(len(prompts), samples)
    return Judged(_means(table), _details(judge, table, grades, asked))


def _local_judge_replies(judge: Judge, prompts: list[str]) -> Iterator[tuple[str, str]]:
    from tuneoff.metrics import _local_judge

    return _local_judge.replies(str(judge.model), prompts, judge.max_tokens, judge.batch_size)


def _ask(judge: Judge, questions: list[tuple[str, int]], cache: Replies, asked: _Asked) -> None:
    """Puts replies, and reasons where there are none, into `asked`."""
    if problems := judge.problems():
        raise TuneoffError(f"the judge cannot be asked: {'; '.join(problems)}")
    endpoint = Endpoint(
        str(judge.endpoint),
        os.environ[judge.api_key_env] if judge.api_key_env else None,
        timeout=judge.timeout_seconds,
        attempts=judge.attempts,
        seconds=judge.minutes * 60,
    )
    options = judge.model_dump(include={"model", "temperature", "max_tokens"}, exclude_none=True)

    def one(question: tuple[str, int]) -> str | Unanswered:
        try:
            turn = {"role": "user", "content": question[0]}
            reply = endpoint.ask({**options, "messages": [turn]})
        except Unanswered as why:
            return why
        cache.put(*question, reply)
        return reply

    with ThreadPoolExecutor(judge.concurrency, "judge") as pool:
        try:
            for question, reply in zip(questions, pool.map(one, questions), strict=True):
                if isinstance(reply, Unanswered):
                    asked.failures[str(reply)] += 1
                else:
                    asked.replies[question] = reply
        except BaseException:
            endpoint.close("interrupted")
            raise
    asked.counts |= {"requests": endpoint.sent, "troubles": dict(endpoint.troubles)}


def _number(score: int | None) -> float:
    return np.nan if score is None else float(score)


def _means(table: np.ndarray) -> np.ndarray:
    """(n,) means of what is a number in each row; not a number where nothing is."""
    known = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(known, table, 0.0).sum(1) / known.sum(1)
    return means


def _details(
    judge: Judge, table: np.ndarray, grades: dict[tuple[str, int], int | None], asked: _Asked
) -> dict[str, Any]:
    bad = [asked.replies[question] for question, score in grades.items() if score is None]
    known = ~np.isnan(table)
    several = known.sum(1) > 1
    spread = [float(np.std(row[~np.isnan(row)], ddof=1)) for row in table[several]]
    unjudged = int((~known.any(axis=1)).sum())
    found = {
        "model": judge.model,
        "endpoint": judge.endpoint or "local",
        "prompt": "published" if judge.prompt == PROMPT else judge.prompt,
        "samples": table.shape[1],
        "temperature": judge.temperature,
        "spread_between_samples": float(np.mean(spread)) if spread else None,
        "answers": len(table),
        "answers_not_judged": unjudged,
        "bad_replies": len(bad),
        "bad_reply_examples": [reply[:80] for reply in bad[:_SHOWN]],
        "samples_without_reply": asked.failures.total(),
        "why_no_reply": dict(asked.failures.most_common(_SHOWN)),
        **asked.counts,
    }
    if unjudged:
        reasons = [*asked.failures, *(["replies that are no integer from 0 to 100"] if bad else [])]
        found["warning"] = (
            f"{unjudged} of {len(table)} answers could not be judged and are left out of the mean "
            f"({'; '.join(reasons[:2])})"
        )
    return found
