"""What one setting does: methods of a contest that differ in that setting alone, side by side.

A study sweeps a setting by listing the same method several times (`rank: 4`, `rank: 16`), or the
same cell with other training settings. Nothing has to be declared: whatever differs in exactly one
setting is found. Model size is a setting too: the same method on several backbones.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tuneoff.contests import flat
from tuneoff.report.contents import Contents, Contest, MethodResult

_FOLLOWING = {"training.optimizer": ("training.betas", "training.eps")}
"""Settings that come and go with another one."""
_NAMES = ("method.name", "method.learning_rates")
_WHICH = "method.method"
"""Which method it is: what a contest compares, and no setting of one."""


class Point(NamedTuple):
    """One value of a setting, and the method that has it."""

    value: Any
    contest: Contest
    result: MethodResult


class Effect(NamedTuple):
    """One setting over at least two values. where: the contest, or method and task for model
    size."""

    where: str
    setting: str
    points: tuple[Point, ...]

    @property
    def metric(self) -> str:
        return self.points[0].contest.metric


def effects(contents: Contents) -> list[Effect]:
    """Every setting that a study sweeps, contest by contest, then model sizes task by task."""
    found: list[Effect] = []
    for contest in contents.contests:
        found += _in_contest(contest)
    return found + _of_size(contents)


def _in_contest(contest: Contest) -> list[Effect]:
    by_method = _settings(contest)
    keys = list(dict.fromkeys(key for settings in by_method.values() for key in settings))
    found = []
    for key in keys:
        if key == _WHICH:
            continue
        apart = (key, *_FOLLOWING.get(key, ()))
        groups: dict[str, list[Point]] = {}
        for method, settings in by_method.items():
            result = contest.result(method)
            if key in settings and result is not None:
                rest = {name: value for name, value in settings.items() if name not in apart}
                same = json.dumps(rest, sort_keys=True)
                groups.setdefault(same, []).append(Point(settings[key], contest, result))
        for points in groups.values():
            if len({json.dumps(point.value) for point in points}) > 1:
                found.append(Effect(contest.title, key.partition(".")[2], _ordered(points)))
    return found


def _of_size(contents: Contents) -> list[Effect]:
    """The same method and training on backbones of several sizes."""
    groups: dict[tuple[str, str, str], list[Point]] = {}
    for contest in contents.contests:
        for method, settings in _settings(contest).items():
            result = contest.result(method)
            size = contest.runs_of(method)[0].cost_of("total_parameters")
            if result is not None and size:
                rest = {k: v for k, v in settings.items() if not k.startswith("backbone.")}
                key = (contest.task, contest.metric, json.dumps([method, rest], sort_keys=True))
                groups.setdefault(key, []).append(Point(size, contest, result))
    return [
        Effect(f"{points[0].result.method} on {task}", "model size", _ordered(points))
        for (task, _, _), points in groups.items()
        if len({point.value for point in points}) > 1
    ]


def _settings(contest: Contest) -> dict[str, dict[str, Any]]:
    """Method -> its settings, flat, of methods that have a score."""
    found = {}
    for result in contest.methods:
        runs = contest.runs_of(result.method)
        if result.mean is not None and runs:
            parts = {part: (runs[0].settings or {}).get(part) for part in ("method", "training")}
            if runs[0].rate_from != "study":  # a rate that was found is no setting of the study
                parts["method"] = {
                    k: v for k, v in (parts["method"] or {}).items() if k != "learning_rate"
                }
            held = dict((runs[0].settings or {}).get("backbone") or {})
            parts["backbone"] = {k: v for k, v in held.items() if k not in ("name", "model")}
            found[result.method] = {k: v for k, v in flat(parts).items() if k not in _NAMES}
    return found


def _ordered(points: list[Point]) -> tuple[Point, ...]:
    """By value: numbers by size, off before on, words as they come."""
    numbers = all(isinstance(point.value, int | float) for point in points)
    return tuple(sorted(points, key=lambda point: point.value) if numbers else points)
