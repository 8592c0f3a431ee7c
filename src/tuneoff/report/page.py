"""The report as one HTML page and as Markdown, from Jinja templates in `templates/`.

The page loads nothing: style, script and plots stand in it, and its content security policy
forbids the rest. Whatever comes from a study or its data is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import tuneoff
from tuneoff.report import analyses, data_facts, summary
from tuneoff.report import quantities as q
from tuneoff.report.between import metric_between
from tuneoff.report.contents import Contents, Contest
from tuneoff.report.definitions import definitions
from tuneoff.report.plan_grades import plan_grades
from tuneoff.report.plots.confusion import MOST_WRITTEN
from tuneoff.report.plots.svg import Picture
from tuneoff.report.published import Beside


def page(
    contents: Contents,
    pictures: Sequence[Sequence[Picture]],
    published: Beside | None = None,
    overall: Sequence[Picture] = (),
) -> str:
    """`report.html`. `pictures`: those of each contest, in the contents' order; `overall`: those
    that compare contests and cells with each other, and with what is published."""
    environment = _environment(autoescape=True)
    style, script = (
        environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        for name in ("page.css", "page.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        **_values(contents, pictures, published, overall),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:",
        inline=lambda picture: Markup(picture.inline),
    )


def text(
    contents: Contents,
    pictures: Sequence[Sequence[Picture]],
    published: Beside | None = None,
    overall: Sequence[Picture] = (),
) -> str:
    """`report.md`, with links to the plots beside it."""
    environment = _environment(autoescape=False)
    environment.filters |= {"md": _markdown, "fence": _fence, "link": quote}
    values = _values(contents, pictures, published, overall)
    found = environment.get_template("report.md.j2").render(**values)
    return re.sub(r"\n{3,}", "\n\n", found)


def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("tuneoff.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "memory": q.memory,
        "duration": q.duration,
        "count": q.count,
        "whole": q.whole,
        "rate": q.rate,
        "metric_name": q.metric_name,
        "axis_name": q.axis_name,
        "status_name": summary.status_name,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
    }
    environment.filters |= filters
    return environment


def _values(
    contents: Contents,
    pictures: Sequence[Sequence[Picture]],
    published: Beside | None,
    overall: Sequence[Picture],
) -> dict[str, Any]:
    """What both templates show."""
    return {
        "contents": contents,
        "published": published,
        "overall": overall,
        "sections": [
            _section(contest, drawn, number)
            for number, (contest, drawn) in enumerate(
                zip(contents.contests, pictures, strict=True), start=1
            )
        ],
        "progress": summary.progress(contents),
        "definitions": definitions(contents),
        "versions": summary.versions(contents.runs),
        "command": f"tuneoff run {shlex.quote(str(contents.folder / 'study.yaml'))}",
        "tuneoff_version": tuneoff.__version__,
        "uses": summary.USES,
        "score": q.score,
        "run_score": summary.run_score,
        "nothing": q.NOTHING,
    }


def _section(contest: Contest, drawn: Sequence[Picture], number: int) -> dict[str, Any]:
    """One contest, its texts made."""
    learning = [p for p in drawn if p.kind in ("learning_curves", "learning_rates")]
    confusion = [p for p in drawn if p.kind == "confusion"]
    advised = contest.advised
    return {
        "contest": contest,
        "anchor": f"contest-{number}",
        "level": round(contest.confidence_level * 100),
        "synthetic": data_facts.is_synthetic(contest),
        "advised": advised,
        "advised_costs": summary.costs(contest, advised) if advised else (),
        "advice": summary.advice(contest),
        "noise": summary.noise_sentence(contest),
        "rows": summary.method_rows(contest),
        "inference": analyses.inference_rows(contest),
        "writes": any(r.cost_of("generation_seconds_per_example") for r in contest.methods),
        "shifts": analyses.shift_rows(contest),
        "between": analyses.between_rows(contest),
        "between_metric": q.axis_name(metric_between(contest)),
        "failures": summary.failures(contest),
        "facts": data_facts.data_facts(contest),
        "grades": plan_grades(contest),
        "edges": summary.edge_warnings(contest),
        "confused": summary.confusions(contest),
        "pictures": [p for p in drawn if p not in learning and p not in confusion],
        "learning_pictures": learning,
        "confusion_pictures": confusion,
        "unwritten": any(len(run.classes or []) > MOST_WRITTEN for run in contest.runs),
        "unit": "points" if q.is_share(contest.metric) else q.metric_name(contest.metric),
    }


def _markdown(value: object) -> str:
    """Text in which Markdown and HTML signs stand for themselves, on one line."""
    line = " ".join(str(value).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", line)


def _fence(value: str) -> str:
    """A fence that is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", value)), default=0)
    return "`" * max(3, longest + 1)
