"""The plan as a table for the terminal, 80 columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneoff.planning.warnings import warnings

if TYPE_CHECKING:
    from rich.console import Console

    from tuneoff.planning.plan import Plan
    from tuneoff.runs import RunSpec


_STATE_BYTES = 16
"""Of a trained parameter of a probe that waits at a rung: value, best value, AdamW's moments."""


def render(plan: Plan, console: Console) -> None:
    """What will run, what it is expected to take, and what will not fit."""
    from rich.markup import escape
    from rich.table import Table

    machine = plan.machine
    name = escape(machine.name)
    device = name if machine.gpus else f"{machine.cores} cores of {name}"
    todo = [run for cohort in plan.cohorts for run in cohort.run_ids if run not in plan.settled]
    console.print(f"[bold]{plan.study}[/]: {_count(plan)}", highlight=False)
    console.print(
        f"{device}; {machine.memory_bytes / 1e9:.1f} GB free; "
        f"{machine.flops / 1e9:.0f} GFLOP/s measured{'' if machine.gpus else ' per core'}",
        highlight=False,
    )
    for (backbone, task), specs in _by_contest(plan).items():
        table = Table(title=f"{backbone} on {task}", title_justify="left", box=None, pad_edge=False)
        for name in ("method", "trained", "rate", "memory", "each", "runs", "together"):
            table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
        for group in specs.values():
            table.add_row(*_row(plan, group))
        console.print()
        console.print(table)
    _notes(plan, console)
    kept = "; ".join(_times(plan))
    workers = f"{plan.workers} worker{'s' if plan.workers != 1 else ''}"
    console.print(
        f"\n{len(todo)} to train in {len(plan.cohorts)} cohorts on {workers}: "
        f"about [bold]{minutes(plan.seconds)}[/] ({kept})",
        highlight=False,
    )


def minutes(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{int(seconds // 3600)} h {round(seconds % 3600 / 60)} min"


def size(count: float) -> str:
    """`512 MB`, `1.9 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _count(plan: Plan) -> str:
    probes, runs = len(plan.runs("probe")), len(plan.runs("run"))
    done = len(plan.finished & set(plan.specs))
    text = f"{runs} run{'s' if runs != 1 else ''}"
    text += f" and {probes} learning-rate probes" if probes else ""
    text += ", most of them stopped early" if any(r.until for r in plan.races.values()) else ""
    return text + (f", {done} of them finished" if done else "")


def _by_contest(plan: Plan) -> dict[tuple[str, str], dict[str, list[RunSpec]]]:
    found: dict[tuple[str, str], dict[str, list[RunSpec]]] = {}
    for spec in plan.runs("run"):
        methods = found.setdefault((spec.backbone.name, spec.task.name), {})
        methods.setdefault(spec.method.name, []).append(spec)
    return found


def _row(plan: Plan, group: list[RunSpec]) -> list[str]:
    spec = group[0]
    prediction = plan.predictions[spec.run_id]
    facts, backbone = plan.survey.method(spec), plan.survey.backbone(spec)
    share = facts.trainable / max(1, backbone.parameters)
    trained = "all" if share > 0.99 else f"{share:.2%}" if not facts.alone else "?"
    searched = spec.rate_from == "method" and not plan.final
    ids = {one.run_id for one in group}
    sizes = sorted({len(c.run_ids) for c in plan.cohorts if ids & set(c.run_ids)})
    together = "-" if not sizes else "alone" if sizes == [1] else f"{sizes[-1]}"
    each = "will not fit" if prediction.reason else minutes(prediction.duration.total)
    return [
        spec.method.name,
        trained,
        "probed" if searched else f"{spec.learning_rate:.2g}",
        size(prediction.memory_bytes),
        each,
        str(len(group)),
        together,
    ]


def _notes(plan: Plan, console: Console) -> None:
    from rich.markup import escape

    reasons: dict[str, Any] = {}
    for spec in plan.runs("run"):
        reason = plan.predictions[spec.run_id].reason
        if reason:
            reasons.setdefault(f"{spec.backbone.name} / {spec.method.name}", reason)
    for name, reason in reasons.items():
        console.print(f"\n[bold]{name} will be skipped:[/] {escape(reason)}", highlight=False)
    warned: dict[str, list[str]] = {}
    for spec in plan.runs("run"):
        for sentence in warnings(spec, plan.survey.backbone(spec)):
            names = warned.setdefault(sentence, [])
            name = f"{spec.backbone.name} / {spec.method.name}"
            names += [] if name in names else [name]
    for sentence, names in warned.items():
        console.print(f"\n[bold]{', '.join(names)}:[/] {escape(sentence)}", highlight=False)


def _times(plan: Plan) -> list[str]:
    probing = plan.span(plan.cohorts_of("probe")) + plan.later_seconds
    parts = [f"of which {minutes(probing)} probes"] if probing else []
    disk = sum(4 * plan.survey.method(spec).trainable for spec in plan.runs("run"))
    waiting = {run for race in plan.races.values() if race.until for run in race.racing}
    disk += sum(_STATE_BYTES * plan.survey.method(plan.specs[run]).trainable for run in waiting)
    return [*parts, f"disk {size(disk)}"]
