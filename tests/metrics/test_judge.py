"""The judge asks a real server on the loopback that is slow, limits, fails and answers nonsense."""

from __future__ import annotations

import time
from email.utils import formatdate

import numpy as np
import pytest

from tests.metrics.judge_server import serving
from tuneoff import registry
from tuneoff.errors import TuneoffError
from tuneoff.metrics import Predicted, _endpoint, judge
from tuneoff.metrics.judge import Judge, grade
from tuneoff.training.evaluation import columns_of, final_scores

SCORES = {"good": 90, "fair": 50, "poor": 10}


def rows(texts=tuple(SCORES), prompts=None, references=None):
    count = len(texts)
    return Predicted(
        losses=np.ones(count), texts=list(texts), references=references or [["right"]] * count,
        prompts=prompts or ["ask"] * count,
    )  # fmt: skip


def said(handler, prompt, before):
    """The score of the answer in the prompt."""
    return str(next(score for word, score in SCORES.items() if f"response {word} on" in prompt))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_endpoint, "FIRST_WAIT", 0.02)
    judge._judged.cache_clear()


@pytest.fixture
def asking(tmp_path):
    def make(server, **settings):
        settings = {"samples": 1, "timeout_seconds": 5, **settings}
        return Judge(endpoint=server.url, model="m", cache=str(tmp_path / "replies"), **settings)

    return make


def judged(metric, answers=None):
    """Score, details."""
    judge._judged.cache_clear()
    scores, details = final_scores({"judge": metric}, answers or rows(), "test")
    return scores["judge"], details["judge"]


def test_the_prompt_is_the_published_one(asking):
    with serving(said) as server:
        judged(asking(server), rows(["good"], ["Name a fruit."], [["Apple", "Pear"]]))
        (question,) = server.asked
    assert question["path"] == "/v1/chat/completions"
    assert question["model"] == "m"
    assert question["messages"] == [
        {
            "role": "user",
            "content": "Given the input Name a fruit. and correct output Apple, score the model "
            "response good on a scale from 0 to 100, where 100 is the best score. Respond with the "
            "integer number only.",
        }
    ]


def test_braces_in_texts_are_texts(asking):
    with serving(lambda *_: "1") as server:
        judged(asking(server), rows(["{output}"], ["{response} {x}"], [["{input}"]]))
    text = server.asked[0]["messages"][0]["content"]
    assert "input {response} {x} and correct output {input}, score the model response {o" in text


def test_scores_are_the_mean_over_answers_of_the_mean_over_samples(asking):
    spread = {"good": [90, 80], "fair": [50, 50], "poor": [0, 20]}

    def several(handler, prompt, before):
        return str(next(s[before] for word, s in spread.items() if f"response {word} on" in prompt))

    with serving(several) as server:
        score, details = judged(asking(server, samples=2))
    assert score == pytest.approx(np.mean([85, 50, 10]))
    deviations = [np.std(one, ddof=1) for one in spread.values()]
    assert details["spread_between_samples"] == pytest.approx(np.mean(deviations))
    assert (details["answers"], details["samples"], details["requests"]) == (3, 2, 6)
    assert "warning" not in details


def test_whole_and_in_batches_alike_and_kept_for_the_verdict(asking):
    with serving(said) as server:
        metric, answers = asking(server), rows()
        whole, _ = judged(metric, answers)
        columns = columns_of(answers, "test", "judge")
        for size in (1, 16):
            parts = [np.arange(at, min(at + size, 3)) for at in range(0, 3, size)]
            table = np.concatenate([metric.table(answers.take(part)) for part in parts])
            assert metric.from_table(table) == pytest.approx(whole)
    assert columns["statistics"].tolist() == [[90, 1], [50, 1], [10, 1]]


def test_the_score_comes_again_from_the_cache_without_a_server(asking):
    with serving(said) as server:
        metric = asking(server, samples=2)
        first, _ = judged(metric)
    again, details = judged(metric)  # the server is gone
    assert again == first
    assert details["from_cache"] == 6
    assert "requests" not in details
    other = metric.model_copy(update={"temperature": 0.5, "attempts": 1})
    assert np.isnan(judged(other)[0])  # other settings, other replies


def test_a_damaged_reply_is_asked_for_again(asking, tmp_path):
    with serving(said) as server:
        judged(asking(server))
        files = sorted((tmp_path / "replies").rglob("*.json"))
        assert len(files) == 3
        files[0].write_text("{")
        assert judged(asking(server))[1]["requests"] == 1


def test_rate_limits_are_waited_for(asking):
    def limited(handler, prompt, before):
        if before == 0:
            return handler.send(429, "slow down", Retry_After="1")
        return said(handler, prompt, before)

    with serving(limited) as server:
        score, details = judged(asking(server, concurrency=1))
        waits = np.diff(server.times)
    assert score == 50
    assert details["troubles"] == {"status 429": 3}
    assert waits[0] >= 0.95


def test_a_date_says_when_too(asking):
    def limited(handler, prompt, before):
        if len(handler.server.asked) == 1:
            return handler.send(503, "", Retry_After=formatdate(time.time() + 2, usegmt=True))
        return said(handler, prompt, before)

    with serving(limited) as server:
        assert judged(asking(server, concurrency=1))[0] == 50
        assert np.diff(server.times)[0] > 0.8


@pytest.mark.parametrize("trouble", ["500", "drop", "html", "no choices", "half"])
def test_passing_trouble_is_tried_again(asking, trouble):
    def troubled(handler, prompt, before):
        if before >= 2:
            return said(handler, prompt, before)
        if trouble == "drop":
            return handler.drop()
        if trouble == "half":
            handler.send_response(200)
            handler.send_header("Content-Length", "500")
            handler.end_headers()
            handler.wfile.write(b'{"choices": [{"message"')
            return handler.drop()
        return handler.send(500 if trouble == "500" else 200, "{}" if trouble[0] == "n" else "<p>")

    with serving(troubled) as server:
        score, details = judged(asking(server))
    assert score == 50
    assert details["requests"] == 9
    assert sum(details["troubles"].values()) == 6


def test_a_slow_reply_is_cut_off_and_asked_for_again(asking):
    def drips(handler, prompt, before):
        if before:
            return said(handler, prompt, before)
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(100):  # each piece comes within the time-out of a socket
            time.sleep(0.05)
            handler.wfile.write(b" ")
        return None

    with serving(drips) as server:
        started = time.monotonic()
        score, details = judged(asking(server, timeout_seconds=0.3))
    assert score == 50
    assert details["troubles"] == {"TimeoutError": 3}
    assert time.monotonic() - started < 4


def test_nonsense_is_counted_and_left_out(asking):
    replies = {"good": "90", "fair": "I would say 50.", "poor": "101"}

    def nonsense(handler, prompt, before):
        return next(text for word, text in replies.items() if f"response {word} on" in prompt)

    with serving(nonsense) as server:
        score, details = judged(asking(server))
        assert len(server.asked) == 3  # not asked again: that would choose among replies
    assert score == 90
    assert (details["bad_replies"], details["answers_not_judged"]) == (2, 2)
    assert set(details["bad_reply_examples"]) == {"I would say 50.", "101"}
    assert "2 of 3 answers could not be judged" in details["warning"]


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("0", 0),
        (" 100\n", 100),
        ("101", None),
        ("-1", None),
        ("7.5", None),
        ("", None),
        ("٣", None),
    ],
)
def test_a_grade_is_an_integer_from_0_to_100(reply, score):
    assert grade(reply) == score


@pytest.mark.parametrize(("status", "reason"), [(401, "refuses"), (404, "refuses"), (302, "302")])
def test_who_refuses_is_not_asked_on(asking, status, reason):
    def refuses(handler, prompt, before):
        return handler.send(status, "no such key: secret", Location="http://127.0.0.1:1/elsewhere")

    with serving(refuses) as server:
        score, details = judged(asking(server, concurrency=1))
        assert len(server.asked) == 1
    assert np.isnan(score)
    assert details["answers_not_judged"] == details["samples_without_reply"] == 3
    assert reason in str(details["why_no_reply"])


def test_one_question_that_is_too_long_does_not_stop_the_others(asking):
    def picky(handler, prompt, before):
        if "response poor" in prompt:
            return handler.send(400, "too long")
        return said(handler, prompt, before)

    with serving(picky) as server:
        score, details = judged(asking(server))
        assert len(server.asked) == 3
    assert score == 70
    assert details["why_no_reply"] == {"status 400: too long": 1}


def test_requests_are_bounded_in_count(asking):
    with serving(lambda handler, *_: handler.send(500, "down")) as server:
        score, details = judged(asking(server, attempts=2, samples=20))
        assert len(server.asked) <= 2 * (5 + 4)  # five in a row, and those under way beside them
    assert np.isnan(score)
    assert details["samples_without_reply"] == 60
    assert any("5 questions in a row" in reason for reason in details["why_no_reply"])


def test_requests_are_bounded_in_time(asking):
    with serving(lambda handler, *_: handler.send(429, "", Retry_After="3600")) as server:
        started = time.monotonic()
        score, details = judged(asking(server, minutes=0.01))
    assert time.monotonic() - started < 5
    assert np.isnan(score)
    assert "the time for judging is up" in str(details["why_no_reply"])


def test_several_are_asked_at_once_and_no_more_than_said(asking):
    def slowly(handler, prompt, before):
        time.sleep(0.1)
        return "5"

    with serving(slowly) as server:
        judged(asking(server, concurrency=3, samples=4))
        assert server.most == 3


def test_the_key_comes_from_the_environment_and_stays_out_of_what_is_kept(
    asking, monkeypatch, tmp_path
):
    def leaks(handler, prompt, before):
        return handler.send(400, f"your key {handler.headers['Authorization']}")

    monkeypatch.setenv("TEST_JUDGE_KEY", "secret-123")
    with serving(leaks) as server:
        metric = asking(server, api_key_env="TEST_JUDGE_KEY")
        _, details = judged(metric)
        assert set(server.keys) == {"Bearer secret-123"}
    assert "secret" not in str(details) + metric.model_dump_json()
    assert "***" in str(details)
    assert metric.problems() == []
    monkeypatch.delenv("TEST_JUDGE_KEY")
    assert "TEST_JUDGE_KEY is not set" in metric.problems()[0]
    score, details = judged(metric)
    assert score is None
    assert "TEST_JUDGE_KEY is not set" in details["failed"]


def test_without_a_model_nothing_is_asked():
    with pytest.raises(TuneoffError, match="name the model at an `endpoint`, or a local one"):
        Judge().score(rows())


def test_faults_of_the_settings():
    assert "is an encoder" in Judge(model="mini-bert").problems()[0]
    assert "no such folder" in Judge(model="./gone").problems()[0]
    assert "no effect" in Judge(model="mini-bert", temperature=1.0).problems()[0]
    for wrong in ({"prompt": "rate {output}"}, {"endpoint": "ftp://x"}, {"samples": 0}):
        with pytest.raises(ValueError):
            Judge(model="m", **wrong)


def test_what_names_a_run_is_what_decides_the_score():
    one = Judge(endpoint="http://a/v1", model="m")
    assert one.identity() == Judge(endpoint="http://b/v1", model="m", concurrency=9).identity()
    assert one.identity() != Judge(endpoint="http://a/v1", model="m", samples=5).identity()


def test_the_registry_finds_it():
    assert registry.get("metrics", "judge") is Judge
