"""In words: does the best set look like luck? What speaks against it is named; what does not is no promise."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from schwabot.simulation.sweep.outcome import Outcome, hours
from schwabot.simulation.sweep.shards import PER_LEG
from schwabot.sinks.narrow import short_number

ISOLATED = 0.3
"""Plateau score below which a set stands alone."""
LONG_S = 30 * 86_400.0
"""From here on the size of a Sharpe ratio a year is worth reading."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guards say.

    Attributes:
        word: ``nothing`` (no candidate), ``loss``, ``luck``, ``unclear`` or ``holds``.
        headline: the same as a sentence.
        reasons: what speaks against the best set.
        remarks: what one should know beside it.
    """

    word: str
    headline: str
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def text(self) -> str:
        """Everything, a line each."""
        return "\n".join([self.headline, *(f"- {line}" for line in (*self.reasons, *self.remarks))])


def verdict(outcome: Outcome, fitted: str = "") -> Verdict:
    """Judge the best set of a sweep.

    Args:
        outcome: of the sweep.
        fitted: where the forecast that was traded on knew what came after, that in words: then nothing holds.
    """
    config, guards, best = outcome.config, outcome.guards, outcome.best
    remarks = (*([fitted] if fitted else []), *_remarks(outcome))
    if outcome.results.sets == 0:
        return Verdict("nothing", "No set was run: there is nothing to judge.", (), ())
    if guards is None or best is None:
        most = int(outcome.searched.trades.max(initial=0))
        if most == 0:
            headline = "No set traded: there is nothing to judge."
            if outcome.searched.orders.sum(initial=0) > 0:
                headline += " Orders were sent, but none was filled before the data ended."
        else:
            headline = (
                f"No set had {max(config.min_trades, 1):,} fills (sweep.min_trades; the most was {most:,}): there is"
                " nothing to judge."
            )
        return Verdict("nothing", headline, (), remarks)
    currency = outcome.results.legs[0].currency
    here, there = outcome.one(best, outcome.searched), outcome.one(best, outcome.held_out)
    if here["net"] <= 0.0:
        headline = (
            f"Nothing made money: the best of {outcome.results.sets:,} sets, set {best}, came to {here['net']:,.6g}"
            f" {currency} after costs."
        )
        return Verdict("loss", headline, (), remarks)
    reasons = []
    if guards.beyond_luck < config.confidence:
        reasons.append(
            f"The best of {guards.trials:,} sets reaches a Sharpe ratio of {short_number(guards.luck)} a year by luck"
            f" alone; this one reached {short_number(guards.sharpe)}. The probability that it is more than luck is"
            f" {guards.beyond_luck:.1%} (Sharpe ratio deflated by the number of sets), less than the"
            f" {config.confidence:.0%} asked for."
        )
    share = f"{100 * (1 - config.split):.3g} %"
    quiet = there["trades"] == 0
    if not quiet and there["net"] <= 0.0:
        reasons.append(
            f"On the last {share} of the time, which nothing was chosen on, it came to {there['net']:,.6g} {currency}"
            f" over {there['trades']:,} fills."
        )
    if not quiet and guards.rank < 0.5:
        reasons.append(f"There it beat only {guards.rank:.0%} of the candidates.")
    overfitting = guards.overfitting.probability
    if overfitting >= 0.5:
        reasons.append(
            f"In {overfitting:.0%} of the {guards.overfitting.splits} ways to halve the folds, the set that was best in"
            " one half was no better than the median in the other (probability of backtest overfitting)."
        )
    if guards.plateau < ISOLATED:
        reasons.append(
            f"It stands alone: its {min(config.neighbours, outcome.results.sets - 1)} nearest sets share"
            f" {max(guards.plateau, 0.0):.0%} of what it is better than usual (plateau score)."
        )
    if sum(guards.forward) <= 0.0:
        reasons.append(
            "Choosing the best set on all folds so far and trading it in the next came to"
            f" {sum(guards.forward):,.6g} {currency} over {len(guards.forward)} folds (walk-forward)."
        )
    if guards.without_best <= 0.0:
        reasons.append(
            f"One of its {config.folds} folds made all of it: without that one it came to {guards.without_best:,.6g}"
            f" {currency}."
        )
    if reasons:
        count = "one thing says" if len(reasons) == 1 else f"{len(reasons)} things say"
        return Verdict("luck", f"The best set, set {best}, looks like luck: {count} so.", tuple(reasons), remarks)
    alone = guards.trials < 2 or len(outcome.order) < 2
    unknown = not (isfinite(overfitting) and isfinite(guards.plateau) and isfinite(guards.rank))
    if quiet or alone or unknown or fitted:
        why = "too few sets traded for the checks to answer" if unknown else "the forecast knew these hours"
        if quiet:
            why = f"it did not trade in the last {share} of the time"
        elif alone:
            why = "there is no other set to set it against"
        return Verdict("unclear", f"The best set, set {best}, can't be judged: {why}.", (), remarks)
    headline = (
        f"Nothing here says that the best set, set {best}, is luck: {guards.beyond_luck:.1%} after deflation"
        f" by {guards.trials:,} sets, {there['net']:,.6g} {currency} in the last {share} of the time, overfitting"
        f" {overfitting:.0%}, plateau {guards.plateau:.2f}. That is what these checks can see in this data; it is no"
        " promise about other days."
    )
    return Verdict("holds", headline, (), remarks)


def _remarks(outcome: Outcome) -> tuple[str, ...]:
    """What one should know beside the verdict."""
    found = []
    guards, config, results = outcome.guards, outcome.config, outcome.results
    if guards is not None:
        if guards.searched_s < LONG_S:
            found.append(f"Sharpe ratios are a year's, from {hours(guards.searched_s)}: their size means nothing.")
        if guards.searched_s < guards.least_s < np.inf:
            found.append(
                f"Had it been the only set tried, {hours(guards.least_s)} of data would tell its Sharpe ratio from 0"
                f" with 95 % confidence; there were {hours(guards.searched_s)}."
            )
        if guards.deflated < config.confidence <= guards.beyond_luck:
            found.append(
                f"The deflated Sharpe ratio by the variance among all sets is {guards.deflated:.1%}; it takes for luck"
                " also that some sets really are worse than others. A narrower range around the best one tells the two"
                " apart."
            )
        if np.isfinite(guards.overfitting.probability) and 0.2 <= guards.overfitting.probability < 0.5:
            found.append(f"The probability of backtest overfitting is {guards.overfitting.probability:.0%}: not small.")
        if config.method in ("tpe", "cmaes", "nsga2"):
            found.append(
                f"{config.method} tries sets near good ones, and sets alike count as many: what luck does is judged"
                " roughly; a random sweep is judged more fairly."
            )
    if outcome.at_end:
        found.append(f"At the end of its range: {', '.join(outcome.at_end)}; the best may lie beyond.")
    world = [one.short for one in results.space.dimensions if one.name in PER_LEG]
    if world:
        found.append(f"Not yours to choose, so the best value of it is no finding: {', '.join(world)}.")
    if len(results.legs) > 1:
        found.append(
            "Several streams: drawdowns and deviations are added up, as if all fell together; each trades the same"
            " number of lots, so the one whose lots are worth most weighs most."
        )
    return tuple(found)
