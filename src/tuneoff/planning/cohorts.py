"""Which runs train together, and in which order.

Runs share a cohort when they stand on one backbone as loaded, one task and the same arithmetic. On
a CPU a cohort pays where something is shared: members over the same cached prefix go together, and
on small backbones seeds and rates of one method whose hooks stack; everything else is faster side
by side, one thread each (measured: docs/running.md). On a GPU as many go together as memory holds.

Seeds are spread: the first seed of every method comes before the second of any, and in each round
the cheapest goes first, so that a study that is stopped has compared all methods.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tuneoff.halving import Race
from tuneoff.planning.duration import caches_prefix
from tuneoff.planning.facts import Survey, backbone_key
from tuneoff.planning.memory import together
from tuneoff.planning.prediction import Prediction
from tuneoff.runs import RunSpec
from tuneoff.training.generation import BATCH_TOKENS
from tuneoff.training.outcome import EVALUATION_TOKENS

SMALL_HIDDEN = 256
"""Up to this hidden size a step on a CPU is mostly calls: performance notes, section 2."""
_MOST = {"cpu": 8, "cuda": 64}
_MOST_HEADS = 16
_MOST_STACKED = 4


@dataclass(frozen=True)
class Cohort:
    """Runs that train together, as fixed before training: the members, their order and the size of
    a pass decide the last bits of the numbers.

    micro_batch_tokens: most tokens in one pass, all members together (None: whole batches);
    evaluation_tokens, generation_tokens: the same there; dequantized_gb: of 4-bit weights, kept in
    full too; retries: what went wrong so far, in words; failures: how often it ended with nothing
    gained; until: the step of the rung at which probes stop (None: they train to their end).
    """

    id: str
    kind: str
    run_ids: tuple[str, ...]
    seconds: float
    memory_bytes: int
    micro_batch_tokens: int | None = None
    evaluation_tokens: int = EVALUATION_TOKENS
    generation_tokens: int = BATCH_TOKENS
    dequantized_gb: float | None = None
    retries: tuple[str, ...] = ()
    failures: int = 0
    until: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @staticmethod
    def of(data: Mapping[str, Any]) -> Cohort:
        """From plain data."""
        lists = {name: tuple(data[name]) for name in ("run_ids", "retries")}
        return Cohort(**{**data, **lists})

    def split(self, parts: Sequence[Sequence[str]], why: str) -> list[Cohort]:
        """The same runs in smaller cohorts, from the beginning."""
        return [
            replace(
                self,
                id=f"{self.id}.{number}",
                run_ids=tuple(part),
                failures=0,
                seconds=self.seconds * len(part) / len(self.run_ids),
                retries=(*self.retries, why),
            )
            for number, part in enumerate(parts, start=1)
        ]


def compose(
    specs: Sequence[RunSpec],
    survey: Survey,
    predictions: Mapping[str, Prediction],
    device: str,
    memory_bytes: int,
    kept: Sequence[Cohort],
    finished: Collection[str],
    first_number: int = 0,
    races: Collection[Race] = (),
) -> list[Cohort]:
    """The cohorts of all unfinished runs, in order.

    kept: cohorts of an earlier plan; one that still has something to do stays as it is; races: how
    far probes train before the next of them are stopped.
    """
    race = {run: one for one in races for run in one.due}
    until = {run: one.until for run, one in race.items()}
    wanted = {spec.run_id: spec for spec in specs}
    stay = [
        cohort
        for cohort in kept
        if all(run in wanted for run in cohort.run_ids)
        and any(run not in finished for run in cohort.run_ids)
        and all(until.get(run) == cohort.until for run in cohort.run_ids if run not in finished)
    ]
    placed = {run for cohort in stay for run in cohort.run_ids}
    groups: dict[tuple[Any, ...], list[RunSpec]] = {}
    for spec in specs:
        if spec.run_id in placed or spec.run_id in finished or predictions[spec.run_id].reason:
            continue
        key = (until.get(spec.run_id), *_group_key(spec, survey, device))
        groups.setdefault(key, []).append(spec)
    made: list[Cohort] = []
    number = first_number
    for group in groups.values():
        for members in _chunks(group, survey, predictions, device, memory_bytes):
            runs = {spec.run_id: race.get(spec.run_id) for spec in members}
            made.append(_cohort(f"c{number}", group[0].kind, runs, predictions, device))
            number += 1
    return _ordered([*stay, *made], wanted)


def _group_key(spec: RunSpec, survey: Survey, device: str) -> tuple[Any, ...]:
    """Runs with the same key may train together."""
    training, method, backbone = spec.training, survey.method(spec), survey.backbone(spec)
    common = (
        backbone_key(spec),
        spec.kind,
        training.precision,
        training.gradient_checkpointing,
        training.cache_frozen_prefix,
    )
    if method.alone or backbone.padded or method.trains_embeddings:
        return (*common, "alone", spec.run_id)
    if caches_prefix(spec, backbone, method):
        return (*common, "prefix", method.lowest)
    if device == "cuda":
        return (*common, "all")
    if backbone.hidden <= SMALL_HIDDEN and method.stacks:
        return (*common, "small", spec.contest)
    return (*common, "alone", spec.run_id)


def _chunks(
    group: list[RunSpec],
    survey: Survey,
    predictions: Mapping[str, Prediction],
    device: str,
    memory_bytes: int,
) -> list[list[RunSpec]]:
    """A group cut so that every cohort fits in memory and is not larger than helps."""
    spec = group[0]
    backbone, method = survey.backbone(spec), survey.method(spec)
    most = _MOST[device]
    if device == "cpu" and method.lowest >= backbone.blocks:
        most = _MOST_HEADS  # only heads train, and the features are shared
    elif device == "cpu" and not caches_prefix(spec, backbone, method):
        most = _MOST_STACKED
    chunks: list[list[RunSpec]] = []
    for spec in group:
        chunk = [*chunks[-1], spec] if chunks else [spec]
        used = _memory([predictions[one.run_id] for one in chunk])
        if chunks and len(chunk) <= most and used <= memory_bytes:
            chunks[-1] = chunk
        else:
            chunks.append([spec])
    return chunks


def _memory(parts: Sequence[Prediction]) -> int:
    """Bytes of a process, or on a device, with these runs together."""
    process = max(part.memory_bytes - part.memory.total for part in parts)
    return process + together([part.memory for part in parts])


def _cohort(
    name: str,
    kind: str,
    races: Mapping[str, Race | None],
    predictions: Mapping[str, Prediction],
    device: str,
) -> Cohort:
    """races: of each member that is a probe."""
    parts = [predictions[run] for run in races]
    shared = max(part.duration.shared for part in parts)
    seconds = shared + sum(
        (race.share if race else 1.0) * (part.duration.total - part.duration.shared)
        for part, race in zip(parts, races.values(), strict=True)
    )
    if device == "cuda":
        seconds /= min(len(parts), 8)  # small members fill what one leaves idle
    batches = [part.batches for part in parts]
    tokens = [one.training for one in batches if one.training is not None]
    return Cohort(
        name,
        kind,
        tuple(races),
        seconds,
        _memory(parts),
        micro_batch_tokens=min(tokens) * len(parts) if tokens else None,
        evaluation_tokens=min(one.evaluation for one in batches),
        generation_tokens=min(one.generation for one in batches),
        dequantized_gb=parts[0].dequantized_gb,
        until=next((race.until for race in races.values() if race), None),
    )


def _ordered(cohorts: list[Cohort], specs: Mapping[str, RunSpec]) -> list[Cohort]:
    """Probes first; then seed by seed, cheapest first; the last round longest first, so that no
    worker is left with a long run while the others have nothing to do."""
    rounds: dict[tuple[str, ...], dict[int, int]] = {}
    place = {}
    for run, spec in specs.items():
        seeds = rounds.setdefault(spec.contest, {})
        place[run] = seeds.setdefault(spec.seed, len(seeds))
    turn = {cohort.id: min(place[run] for run in cohort.run_ids) for cohort in cohorts}
    last = max(turn.values(), default=0)

    def key(cohort: Cohort) -> tuple[bool, int, float]:
        seconds = -cohort.seconds if turn[cohort.id] == last else cohort.seconds
        return (cohort.kind != "probe", turn[cohort.id], seconds)

    return sorted(cohorts, key=key)
