"""The plan, graded: what was predicted before anything ran, beside what was then measured."""

from __future__ import annotations

from typing import NamedTuple

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest, Profile


class Grade(NamedTuple):
    """One method's predictions as text; `off`: measured over predicted."""

    method: str
    memory: str
    measured_memory: str
    memory_off: str
    time: str
    measured_time: str
    time_off: str


def plan_grades(contest: Contest) -> list[Grade]:
    """One row per profile that has both sides, the newest of each method setting."""
    newest = {profile.setting: profile for profile in contest.profiles if profile.predicted}
    return [_grade(profile) for profile in newest.values()]


def _grade(profile: Profile) -> Grade:
    cells = []
    for name, written in (("peak_memory_bytes", q.memory), ("train_seconds", q.duration)):
        predicted, measured = profile.predicted.get(name), profile.cost_of(name)
        off = f"{measured / predicted:.2g}×" if predicted and measured else q.NOTHING
        cells += [written(predicted), written(measured), off]
    return Grade(profile.method, *cells)
