"""Whether a saved model answers as its run did: the content of check.json.

A class counts as differing when the recorded run was surer of its own class than rounding can
explain; a tie within rounding is counted apart. Losses are compared row by row: they show whether
weights and rows are the same ones. Texts are compared letter by letter; a few of many may part ways
where two tokens are as likely, more of them in coarser arithmetic (`TEXT_SHARES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tuneoff import registry
from tuneoff.backbones.names import CLASSIFIERS
from tuneoff.metrics import Predicted, evaluate
from tuneoff.winner.card_code import loader_class
from tuneoff.winner.check import Recorded
from tuneoff.winner.manifest import Manifest

TOLERANCES = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 1e-2, "bf16": 5e-2}
"""Most that a probability may differ by, or a loss of x in units of 1 + x, by the precision of the
arithmetic: rounding differs with the batch, and `bf16` keeps 8 bits."""
TEXT_SHARES = {1e-4: 0.02, 5e-3: 0.1, 1e-2: 0.25, 5e-2: 0.5}
"""Share of texts that may differ, by the tolerance."""
_COARSE = 5e-2  # 8-bit products depend on the batch; libraries' 4-bit kernels may round to bf16
_WORDS = {"spans": "answers", "texts": "texts"}
Answers = Mapping[str, Predicted]


def judge(
    manifest: Manifest,
    recorded: Recorded,
    answers: Answers,
    facts: Mapping[str, Any],
    metric: str,
    not_merged: str | None = None,
) -> dict[str, Any]:
    """The content of check.json; `failures` names what does not hold."""
    quantization = manifest.backbone.options["quantization"]
    dtype = {"bfloat16": "bf16", "float16": "fp16"}.get(
        manifest.backbone.options["dtype"], manifest.precision
    )
    tolerance = max(TOLERANCES[dtype], _COARSE if quantization == "int8" else 0.0)
    rough = max(tolerance, _COARSE if quantization != "none" else 0.0)
    failures: list[str] = []
    reloaded = _Compared("tuneoff", tolerance, manifest).all(recorded, answers, "reloaded")
    content: dict[str, Any] = {
        "passed": False,
        "failures": failures,
        "rows": {
            split: len(answers.get(f"reloaded.{split}", ())) for split in ("test", "validation")
        },
        "tolerance": tolerance,
        "reloaded": reloaded.content,
        "head": facts["head"],
        "process": {key: value for key, value in facts.items() if key != "head"},
    }
    failures += reloaded.failures()
    if not facts["head"]["saved"]:
        failures.append("the saved head is not the one that was trained")
    if by_split(answers, "library"):
        library = _Compared(loader(manifest), rough, manifest).all(recorded, answers, "library")
        content["library"] = library.content
        failures += library.failures()
    for split, bare in by_split(answers, "bare").items():
        changed = _difference(bare, answers[f"reloaded.{split}"].take(np.arange(len(bare))))
        content["without_adapter"] = {"rows": len(bare), **changed}
        if not any(changed.values()):
            failures.append("predictions are the same without the adapter: it does nothing")
    content["merged"] = {"skipped": not_merged} if not_merged else (
        _merged(manifest, answers, metric, tolerance, failures))  # fmt: skip
    content["passed"] = not failures
    return content


def loader(manifest: Manifest) -> str:
    """The call that loads the model outside of tuneoff."""
    if manifest.form == "peft":
        return "PeftModel.from_pretrained"
    return f"{loader_class(manifest)}.from_pretrained"


def by_split(answers: Answers, look: str) -> dict[str, Predicted]:
    """A look's answers by split, without its texts of the first rows."""
    parts = {tuple(name.split(".")): one for name, one in answers.items()}
    return {split: one for (of, split), one in parts.items() if of == look and split != "written"}


class _Compared:
    """How a look's answers differ from the recorded ones: `content`, of check.json."""

    def __init__(self, name: str, tolerance: float, manifest: Manifest):
        self.name, self.tolerance = name, tolerance
        self.classifies = manifest.head in (None, *CLASSIFIERS)
        self.other_rows: list[str] = []
        self.content: dict[str, Any] = {
            "with": name, "rows": 0, "predictions_differ": 0, "tolerance": tolerance
        }  # fmt: skip

    def all(self, recorded: Recorded, answers: Answers, look: str) -> _Compared:
        """Compares every split, and the texts of the first rows."""
        for split, found in by_split(answers, look).items():
            old = recorded.answers[split]
            places = np.arange(len(found))
            if look == "library" and self.classifies:
                places = found.rows  # those that other programs read alike
            if len(found) > len(old):
                self.other_rows.append(split)
                continue
            old = old.take(places)
            self.content["rows"] += len(found)
            if found.probabilities is not None:
                self._classes(old, found)
            if not self.classifies:
                self._losses(old, found, split)
            self._texts(old, found, "spans")
        if (found := answers.get(f"{look}.written")) is not None:  # type: ignore[assignment]
            old = recorded.answers["test"].take(np.arange(len(found)))
            self._texts(old, found, "texts")
        return self

    def _classes(self, old: Predicted, found: Predicted) -> None:
        """Classes and their probabilities, with ties within rounding apart."""
        before, after, chosen = old.probabilities, found.probabilities, old.predictions
        assert before is not None
        assert after is not None
        assert chosen is not None
        other = np.flatnonzero(after.argmax(-1) != chosen)
        margin = before[other, chosen[other]] - before[other, after[other].argmax(-1)]
        ties = int((margin <= 2 * self.tolerance).sum())
        self._add("predictions_differ", len(other) - ties)
        self._add("classes_differ", len(other) - ties)
        self._add("ties_within_rounding", ties)
        self._raise("max_probability_difference", np.abs(after - before))

    def _losses(self, old: Predicted, found: Predicted, split: str) -> None:
        """Losses row by row; rows with other counts of tokens are other rows."""
        if not np.array_equal(old.tokens, found.tokens):
            self.other_rows.append(split)
        difference = np.abs(found.losses - old.losses)
        explained = difference <= self.tolerance * (1 + np.abs(old.losses))  # NaN is not
        self._add("losses_differ", int((~explained).sum()))
        self._raise("max_loss_difference", difference)

    def _texts(self, old: Predicted, found: Predicted, what: str) -> None:
        """Texts, letter by letter. what: how they came to be, `spans` or `texts`."""
        if old.texts is None or found.texts is None:
            return
        differ = sum(one != other for one, other in zip(old.texts, found.texts, strict=True))
        self._add(what, len(found))
        self._add(f"{what}_differ", differ)
        self._add("predictions_differ", differ)

    def _add(self, name: str, count: int) -> None:
        self.content[name] = self.content.get(name, 0) + count

    def _raise(self, name: str, differences: np.ndarray) -> None:
        most = np.maximum(self.content.get(name, 0.0), differences.max(initial=0.0))
        self.content[name] = float(most)  # not a number stays so

    def failures(self) -> list[str]:
        """What rounding does not explain."""
        content, name, rows = self.content, self.name, self.content["rows"]
        found = [
            f"{name}: the {split} rows are not those that the run saw (other lengths): the data "
            "changed since. Put the old data back, or run the study again"
            for split in dict.fromkeys(self.other_rows)
        ]
        if differ := content.pop("classes_differ", 0):
            found.append(f"{name}: {differ} of {rows} predictions differ from the recorded ones")
        apart = content.get("max_probability_difference", 0.0)
        if not apart <= self.tolerance:
            found.append(
                f"{name}: probabilities differ by up to {apart:.2g}; rounding explains "
                f"{self.tolerance:.2g}"
            )
        if wrong := content.get("losses_differ", 0):
            found.append(
                f"{name}: the losses of {wrong} of {rows} rows differ, by up to "
                f"{content['max_loss_difference']:.2g}; rounding explains {self.tolerance:.2g}"
            )
        share = TEXT_SHARES[self.tolerance]
        for what, word in _WORDS.items():
            count, differ = content.get(what, 0), content.get(f"{what}_differ", 0)
            if differ > share * count:
                found.append(
                    f"{name}: {differ} of {count} {word} differ from the recorded ones; rounding "
                    f"explains {share:.0%}"
                )
        return found


def _difference(one: Predicted, other: Predicted) -> dict[str, float]:
    """The largest difference of losses, and of probabilities."""
    found = {"max_loss_difference": float(np.abs(one.losses - other.losses).max(initial=0.0))}
    if one.probabilities is not None and other.probabilities is not None:
        shares = np.abs(one.probabilities - other.probabilities)
        found["max_probability_difference"] = float(shares.max(initial=0.0))
    return found


def _merged(
    manifest: Manifest, answers: Answers, metric: str, tolerance: float, failures: list[str]
) -> dict[str, Any]:
    """The merged model against the unmerged one on the test rows."""
    quantization = manifest.backbone.options["quantization"]
    content = _rescored(answers, "merged", metric)
    plain = quantization == "none" and manifest.backbone.options["dtype"] == "float32"
    what, allowed = "probability", tolerance
    if f"max_{what}_difference" not in content:
        what, allowed = "loss", tolerance * (1 + float(answers["reloaded.test"].losses.max()))
    apart = content[f"max_{what}_difference"]
    if plain and not apart <= allowed:
        failures.append(
            f"merged: {'probabilities' if what == 'probability' else 'losses'} differ by up to "
            f"{apart:.2g} from the unmerged model; rounding explains {allowed:.2g}"
        )
    content["weights"] = (
        "float32" if quantization == "none" else f"float32, dequantized from {quantization}"
    )
    if by_split(answers, "requantized"):
        content["requantized"] = {
            "quantization": quantization,
            **_rescored(answers, "requantized", metric),
        }
    return content


def _rescored(answers: Answers, look: str, metric: str) -> dict[str, Any]:
    """A look's score beside that of the unmerged model; of texts, where the metric reads them."""
    split = "test" if "reloaded.test" in answers else "validation"
    if registry.get("metrics", metric).needs == "texts" and f"{look}.written" in answers:
        split = "written"
    before, after = answers[f"reloaded.{split}"], answers[f"{look}.{split}"]
    if metric not in evaluate([metric], before, at_the_end=False):
        metric = "loss"  # another model would have to judge
    unmerged, merged = (
        float(evaluate([metric], one, at_the_end=False)[metric]) for one in (before, after)
    )
    if before.predictions is not None and after.predictions is not None:
        differ = int((before.predictions != after.predictions).sum())
    else:
        pairs = zip(before.texts or (), after.texts or (), strict=True)
        differ = sum(one != other for one, other in pairs)
    return {
        "rows": len(before),
        "metric": metric,
        "unmerged": unmerged,
        "value": merged,
        "difference": merged - unmerged,
        "predictions_differ": differ,
        **_difference(before, after),
    }
