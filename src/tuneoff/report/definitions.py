"""What each figure of the report means and how it was measured, for those who read the report."""

from __future__ import annotations

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contents


def definitions(contents: Contents) -> list[tuple[str, str]]:
    """Terms and their meaning, in the order of the report."""
    metrics = sorted({q.metric_name(contest.metric) for contest in contents.contests})
    levels = sorted({round(contest.confidence_level * 100) for contest in contents.contests})
    floors = {c.noise_floor.definition for c in contents.contests if c.noise_floor}
    floor = "; ".join(sorted(filter(None, floors))) or "how far other seeds alone move a score"
    level = " or ".join(f"{level} %" for level in levels) or "95 %"
    return [
        (
            f"Quality ({', '.join(metrics) or 'the metric'})",
            "The score on the test split, mean over the seeds. The test split is read once, at the "
            "end of a run; checkpoints and learning rates are chosen on the validation split.",
        ),
        (
            "Interval",
            f"The range that holds the true value with {level} confidence, if other seeds had been "
            "drawn and other test rows. It counts both: the spread over seeds and the test rows.",
        ),
        ("Noise floor", f"{floor[0].upper()}{floor[1:].rstrip('.')}."),
        (
            "vs best, vs full",
            "Difference to the best method and to full fine-tuning, paired by test row: both met "
            "the same rows, so that hard rows do not count against either. p-values are corrected "
            "for the number of comparisons (Holm).",
        ),
        (
            "Tied",
            "The evidence does not tell this method apart from the best. A tie is no proof of "
            "equality: more seeds or test rows could still part them.",
        ),
        (
            "Peak memory",
            "The most that training held at once, measured with the method alone: allocated memory "
            "on a GPU, resident memory of the process on a CPU. Evaluation and loading are apart.",
        ),
        (
            "Training time",
            "Wall-clock time of the training steps of one run, measured with the method alone; "
            "loading and evaluation are apart. Runs that were trained together finish sooner than "
            "the sum of these times.",
        ),
        (
            "Inference",
            "Time per example and peak memory of reading examples of the test split with a trained "
            "model, longest first, in batches, nothing cached; where the task writes answers, of "
            "writing them. On a CPU, seconds of one core.",
        ),
        (
            "Change under another distribution",
            "The score on a further test set minus that on the test split, of the same runs. The "
            "rows of the two sets are drawn apart, so both add to its interval.",
        ),
        (
            "Place between the models",
            "At place a each trained weight is the original plus a times its change (LoRA's "
            "update, IA3's scales, an adapter's output likewise); new heads stay as trained.",
        ),
        ("Trainable parameters", "Numbers that training changes, the task's head included."),
        ("Stored size", "Bytes of what must be kept beside the backbone to use the result."),
        (
            "Front",
            "A method is on the Pareto front when no other is at once better and cheaper.",
        ),
        (
            "Failed runs",
            "Runs that crashed, diverged, ran out of memory or time, or could not fit. They are "
            "listed with their reason and never replaced or left out of the counts.",
        ),
        (
            "Units",
            "1 MB = 1,000,000 bytes. A point is one percentage point. "
            f"“{q.NOTHING}” means not measured, never zero.",
        ),
    ]
