"""A study writes a metric as a name or with its settings below the name, like a method."""

from __future__ import annotations

import jsonschema
import pytest

from tuneoff.errors import StudyError
from tuneoff.fit import check_fit
from tuneoff.metrics.mean_batch_perplexity import MeanBatchPerplexity
from tuneoff.runs import contests
from tuneoff.study import Study, load_study
from tuneoff.study_schema import json_schema

LATER = [{"bertscore_f1": {"layer": 1}}, {"metric": "mean_batch_perplexity", "batch_size": 8}]


def written(metric=None, metrics=None):
    judged = {"metric": metric, "metrics": metrics}
    task = {"name": "t", "task": "text_classification", "data": {"dataset": "synthetic"}}
    task |= {key: value for key, value in judged.items() if value is not None}
    return {"backbones": ["mini-bert"], "tasks": [task], "methods": ["full"], "seeds": 1}


def test_settings_stand_below_the_name_or_beside_it():
    task = load_study(written("accuracy", ["loss", *LATER])).tasks[0]
    assert list(task.all_metrics) == ["accuracy", "loss", "bertscore_f1", "mean_batch_perplexity"]
    assert task.all_metrics["bertscore_f1"].layer == 1
    assert task.all_metrics["mean_batch_perplexity"].batch_size == 8
    assert load_study(written("loss")).tasks[0].metric_settings == ()


def test_python_may_hand_over_a_metric():
    task = Study(**written(MeanBatchPerplexity(batch_size=4))).tasks[0]
    assert task.primary_metric == "mean_batch_perplexity"
    assert task.all_metrics["mean_batch_perplexity"].batch_size == 4


@pytest.mark.parametrize(
    ("metric", "metrics"),
    [("loss", None), (None, LATER), (LATER[0], ["loss", LATER[1]]), (LATER[1], ["loss"])],
)
def test_what_is_written_makes_the_same_study(metric, metrics):
    study = load_study(written(metric, metrics))
    assert load_study(study.written()) == study
    jsonschema.validate(study.written(), json_schema())


@pytest.mark.parametrize(
    ("metric", "path", "message"),
    [
        ({"bertscore_f1": {"layers": 1}}, "tasks[0].metric.bertscore_f1.layers", "did you mean"),
        ({"bertscore_f1": {"layer": "1"}}, "tasks[0].metric.bertscore_f1.layer", "whole number"),
        ({"bertscore": {"layer": 1}}, "tasks[0].metric", "did you mean 'bertscore_"),
        ({"loss": {"base": 2}}, "tasks[0].metric.loss.base", "is not known"),
        ({"loss": {}, "accuracy": {}}, "tasks[0].metric", "names no metric"),
        ({"bertscore_f1": {"encoder": "./gone"}}, "tasks[0].metric.bertscore_f1.encoder", "folder"),
    ],
)
def test_faults_stand_where_the_person_wrote(metric, path, message):
    with pytest.raises(StudyError) as caught:
        load_study(written(metric))
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert message in found[path], found
    assert len(found) == 1, found


def test_settings_given_twice_are_a_fault():
    with pytest.raises(StudyError, match=r"tasks\[0\].metrics\[0\].*has settings twice"):
        load_study(written(LATER[0], LATER))


def test_the_schema_knows_the_settings():
    jsonschema.validate(written(LATER[0], ["loss", LATER[1]]), json_schema())
    for wrong in ({"bertscore_f1": {"layers": 1}}, "acuracy", {"loss": {}, "accuracy": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(written(wrong), json_schema())
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(written(None, [wrong]), json_schema())


def test_settings_and_the_order_of_metrics_name_a_run():
    def run_id(*judged):
        return contests(load_study(written(*judged)))[0].run_id

    plain = run_id("loss", ["accuracy"])
    assert run_id("loss", ["loss", "accuracy"]) == plain
    assert run_id("accuracy", ["loss"]) != plain
    assert run_id({"bertscore_f1": {"layer": 1}}) != run_id({"bertscore_f1": {"layer": 2}})


def test_a_metric_that_cannot_be_measured_is_known_before_training():
    check_fit(load_study(written("accuracy", ["bertscore_f1"])))
    study = load_study(written("accuracy", [{"bertscore_f1": {"layer": 7}}]))
    with pytest.raises(StudyError, match=r"tasks\[0\].metrics: bertscore_f1: layer: .*at most 3"):
        check_fit(study)
