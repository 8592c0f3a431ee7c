"""What a contest says to a person: which method for which use, how sure, and what would settle it.

The rules, without a composite score:
- best quality: the best mean; tied with it is whatever cannot be told from it.
- best balance: of the best and those equals of it that are cheaper by a factor `WORTHWHILE`, the
  one that needs the least memory; where memory differs by less than `SAME_COST`, the one that
  trains faster. Equals are those tied with the best
  whose own interval, uncorrected, holds zero too, and whose mean is within half an interval of the
  usual width: what is probably worse, or ties with anything for being unsteady, is not recommended.
- least memory, fastest, smallest to store: the lowest measured cost of all methods that learned
  something (a mean above always answering the most frequent class).
A cost that was not measured never wins.
"""

from __future__ import annotations

from typing import Any

from tuneoff import phrases
from tuneoff.contests import Entry
from tuneoff.judge import SAME_COST, Judge

COSTS = {
    "least_memory": ("peak_memory_bytes", "peak memory of training", phrases.size_text),
    "fastest": ("train_seconds", "training time", phrases.duration_text),
    "smallest_to_store": ("adapter_bytes", "size on disk", phrases.size_text),
}


def headline(judge: Judge) -> str:
    """The whole verdict in one to three sentences."""
    comparison, best, choice = judge.comparison, judge.best, judge.balanced
    metric, name = judge.contest.metric, judge.contest.metric_name
    if len(judge.finished) == 1:
        score = comparison.mean(best.label).value
        return (
            f"Only {best.label} finished, with {name} {score:.3f} "
            f"({phrases.counted(len(best.runs), 'seed')}); there is nothing to compare it with."
        )
    seeds = phrases.counted(len(choice.runs), "seed")
    if judge.nothing_right:
        return (
            f"Use none of them yet: {name} is 0 for {phrases.listed(_labels(judge))} ({seeds}), so "
            "that nothing tells them apart. Train longer or on more rows, try higher learning "
            "rates, or take a stronger backbone."
        )
    others = [entry.label for entry in judge.equals if entry is not choice]
    doubtful = [entry.label for entry in judge.leaders if entry not in judge.equals]
    if choice is not best:
        difference = comparison.difference(choice.label, best.label)
        span = phrases.span(difference.interval(judge.level), metric, judge.level)
        gap = phrases.against(difference.value, metric, name)
        first = (
            f"Use {choice.label}{_rate(choice)}: {gap} {_named(best)} ({span}, {seeds}), "
            f"a tie{_saving(choice, best)}."
        )
    elif others:
        first = (
            f"Use {choice.label}{_rate(choice)}: the best mean {name} ({seeds}), "
            f"a tie with {phrases.listed(others)}; none of them is much cheaper."
        )
    elif doubtful:
        verb = "scores" if len(doubtful) == 1 else "score"
        first = (
            f"Use {choice.label}{_rate(choice)}: the best mean {name} ({seeds}); "
            f"{phrases.listed(doubtful)} probably {verb} lower, a tie only by correction for "
            f"{phrases.counted(comparison.pairs, 'comparison')}."
        )
    else:
        second = judge.finished[1]
        difference = comparison.difference(best.label, second.label)
        span = phrases.span(difference.interval(judge.level), metric, judge.level)
        p = phrases.p_text(comparison.corrected_p(best.label, second.label))
        gap = phrases.against(difference.value, metric, name)
        first = (
            f"Use {best.label}{_rate(best)}: {gap} the next, {second.label} ({span}, {seeds}, {p})."
        )
    return " ".join(part for part in (first, _worse(judge), _unsure(judge)) if part)


def _labels(judge: Judge) -> list[str]:
    return [entry.label for entry in judge.finished]


def _named(entry: Entry) -> str:
    return "full fine-tuning" if entry.label == "full" else entry.label


def _rate(entry: Entry) -> str:
    return f" (learning rate {entry.rates[0]:g})" if len(entry.rates) == 1 else ""


def _saving(entry: Entry, other: Entry) -> str:
    """`, with 3.1x less memory`; nothing where it was not measured or is not less."""
    for name, words in (("peak_memory_bytes", "less memory"), ("train_seconds", "less time")):
        mine, theirs = entry.cost.get(name), other.cost.get(name)
        if mine and theirs and theirs / mine > 1 + SAME_COST:
            return f", with {theirs / mine:.1f}x {words}"
    return ""


def _worse(judge: Judge) -> str:
    """`ia3 is worse by 2.3 points (p = 0.004).`, of what is told apart from the best."""
    metric, name = judge.contest.metric, judge.contest.metric_name
    parts = []
    worse = [entry for entry in judge.finished if entry not in judge.leaders]
    for entry in worse[:3]:
        size = judge.comparison.difference(entry.label, judge.best.label).value
        p = phrases.p_text(judge.comparison.corrected_p(entry.label, judge.best.label))
        parts.append(f"{entry.label} is worse by {phrases.amount(size, metric, name)} ({p})")
    rest = [entry.label for entry in worse[3:]]
    if rest:
        parts.append(f"so {'is' if len(rest) == 1 else 'are'} {phrases.listed(rest)}")
    return f"{phrases.listed(parts)}." if parts else ""


def _unsure(judge: Judge) -> str:
    if judge.comparison.seeds_measured:
        return ""
    return "With one seed per method, how much of this is chance of the seed is not known."


def answers(judge: Judge) -> list[dict[str, Any]]:
    """One answer per use, in the form of `verdict.json`."""
    return [_quality(judge), _balance(judge), *(_cheapest(judge, use) for use in COSTS)]


def _answer(
    use: str, method: str | None, sentence: str, reason: str, confidence: str, needs: str | None
) -> dict[str, Any]:
    return {
        "use": use,
        "method": method,
        "sentence": sentence,
        "reason": reason,
        "confidence": confidence,
        "needs": needs,
    }


def _quality(judge: Judge) -> dict[str, Any]:
    best, name = judge.best, judge.contest.metric_name
    others = [entry for entry in judge.leaders if entry is not best]
    mean = judge.comparison.mean(best.label).value
    sentence = f"{best.label} has the best mean {name}, {mean:.3f}"
    if not others:
        if len(judge.finished) == 1:
            return _answer("best_quality", best.label, f"{sentence}; no other method finished.",
                           "nothing to compare it with", "low", "another method")  # fmt: skip
        second = judge.finished[1]
        reason = f"{second.label} is {judge.versus(second, best)}"
        return _answer("best_quality", best.label, f"{sentence}, and no other ties with it.",
                       reason, _confidence(judge, "high"), _seeds_needed(judge))  # fmt: skip
    tied = phrases.listed([entry.label for entry in others])
    reason = f"{others[0].label} is {judge.versus(others[0], best)}"
    return _answer(
        "best_quality",
        best.label,
        f"{sentence}, but cannot be told from {tied}.",
        reason,
        _confidence(judge, "low"),
        judge.needs(others[0], best),
    )


def _balance(judge: Judge) -> dict[str, Any]:
    choice, best = judge.balanced, judge.best
    if not {"peak_memory_bytes", "train_seconds"} & choice.cost.keys():
        return _answer("best_balance", None, "No cost was measured, so no balance can be struck.",
                       "memory and time are unknown", "low", "costs measured solo")  # fmt: skip
    cost = phrases.listed(
        [text for use in ("least_memory", "fastest") if (text := _has(choice, use))]
    )
    if choice is best:
        sentence = f"{choice.label}: the best mean, and no equal of it is much cheaper ({cost})."
        reason = "least memory, then least time, of the best and its equals"
        return _answer("best_balance", choice.label, sentence, reason,
                       _confidence(judge, "high"), _seeds_needed(judge))  # fmt: skip
    return _answer(
        "best_balance",
        choice.label,
        f"{choice.label}: tied with {best.label}{_saving(choice, best)} ({cost}).",
        f"{choice.label} is {judge.versus(choice, best)}",
        _confidence(judge, "medium"),
        judge.needs(choice, best),
    )


def _cheapest(judge: Judge, use: str) -> dict[str, Any]:
    key, words, text = COSTS[use]
    useful = [entry for entry in judge.finished if judge.learned(entry)] or judge.finished
    known = sorted((entry for entry in useful if key in entry.cost), key=lambda _: _.cost[key])
    if not known:
        return _answer(use, None, f"The {words} was not measured.", "no measurement", "low",
                       "a profile of each method, measured solo")  # fmt: skip
    first = known[0]
    quality = "it is also the best" if first is judge.best else judge.versus(first, judge.best)
    tie = ", a tie" if first is not judge.best and first in judge.leaders else ""
    unknown = [entry.label for entry in useful if key not in entry.cost]
    near = [
        entry.label for entry in known[1:] if entry.cost[key] <= first.cost[key] * (1 + SAME_COST)
    ]
    reason = f"lowest {words} of {phrases.counted(len(known), 'method')}"
    if near:
        reason += f"; {phrases.listed(near)} within {SAME_COST:.0%}"
    needs = f"the {words} of {phrases.listed(unknown)}, not measured" if unknown else None
    confidence = "low" if unknown else "medium" if near else "high"
    return _answer(
        use,
        first.label,
        f"{first.label}: {text(first.cost[key])}; {quality}{tie}.",
        reason,
        confidence,
        needs,
    )


def _has(entry: Entry, use: str) -> str:
    key, words, text = COSTS[use]
    return f"{text(entry.cost[key])} {words}" if key in entry.cost else ""


def _confidence(judge: Judge, highest: str) -> str:
    """Without several seeds nothing is sure."""
    return highest if all(len(entry.runs) > 1 for entry in judge.leaders) else "low"


def _seeds_needed(judge: Judge) -> str | None:
    few = [entry.label for entry in judge.leaders if len(entry.runs) < 2]
    return f"2 more seeds of {phrases.listed(few)}" if few else None
