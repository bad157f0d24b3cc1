"""What decides on each claim: one rule for each, over the named effects of `claims.toml`.

An effect is an interval over seeds. A rule compares intervals with fixed margins, which were
written before the results. Nothing in a verdict is typed in by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from minimind_lite.science.intervals import Interval
from minimind_lite.spikes import MIN_HEIGHT

SPIKE = MIN_HEIGHT  # nats: what the detector takes for a spike
SAME = 0.3  # nats: two heights are the same if their difference is shown to be smaller
SAME_RECOVERY = 32  # conversations: two batches; recoveries that differ by less are the same
HARM = 0.1  # nats of held-out loss: less is no harm, more is

HOLDS = "holds"
PART = "holds in part"
WRONG = "wrong"
NOT_HERE = "not testable here"
OPEN = "undecided"

Effects = Mapping[str, Interval]
Rule = Callable[[Effects], str]


def decide(*, holds: bool = False, part: bool = False, wrong: bool = False) -> str:
    """The outcome whose condition is true; undecided where none is, or more than one."""
    conditions = {HOLDS: holds, PART: part, WRONG: wrong}
    outcomes = [outcome for outcome, is_true in conditions.items() if is_true]
    return outcomes[0] if len(outcomes) == 1 else OPEN


def c1(e: Effects) -> str:
    """Segments make the loss jump, are flagged, and explain more than length does."""
    return decide(
        holds=e["jump"].above(SPIKE) and e["flagged"].above(3) and e["domain"].above(0),
        wrong=e["jump"].below(SPIKE),
    )


def c2(e: Effects) -> str:
    """A larger batch makes the spike taller in nats; in part: only against the noise."""
    return decide(
        holds=e["nats"].above(HARM),
        part=e["nats"].below(HARM) and e["z"].above(0),
        wrong=e["nats"].below(HARM) and e["z"].below(0),
    )


def c3(e: Effects) -> str:
    """Something was hurt and recovered; wrong: a frozen model shows the same."""
    if not e["control"].above(HARM):
        return OPEN
    return decide(
        holds=e["frozen"].below(SPIKE) and e["harm"].above(HARM),
        wrong=e["frozen"].above(SPIKE) and e["after the end"].below(SAME_RECOVERY),
    )


def c4(e: Effects) -> str:
    """Height follows divergence, whatever was seen; in part: it falls with exposure."""
    return decide(
        holds=e["correlation"].above(0.5) and e["exposure"].within(-SAME, SAME),
        part=e["exposure"].below(-SAME),
        wrong=e["correlation"].below(0),
    )


def c5(e: Effects) -> str:
    """Recovery is slower under every other optimizer; wrong: the same under all."""
    slower = [interval.above(SAME_RECOVERY) for interval in e.values()]
    same = [interval.within(-SAME_RECOVERY, SAME_RECOVERY) for interval in e.values()]
    return decide(holds=all(slower), wrong=all(same), part=any(slower) and any(same))


def c6(e: Effects) -> str:
    """The smaller model recovers later."""
    later = e["recovery"]
    return decide(holds=later.above(SAME_RECOVERY), wrong=later.below(SAME_RECOVERY))


def c7(e: Effects) -> str:
    """Known before any result: there is one architecture here, in three sizes."""
    return NOT_HERE


def r1(e: Effects) -> str:
    """Shuffling removes the spikes and costs nothing; in part: it costs held-out loss."""
    lower = e["tallest"].below(-SPIKE)
    return decide(
        holds=lower and e["events"].below(0.5) and e["held-out"].below(HARM),
        part=lower and e["held-out"].above(HARM),
        wrong=e["tallest"].above(-SPIKE),
    )


def r2(e: Effects) -> str:
    """Removing rows costs nothing and helps; in part: it un-learns, but classifying explains."""
    return decide(
        holds=e["cost"].below(HARM) and e["broken"].above(0),
        part=e["cost"].above(HARM) and e["domain"].above(0.3) and not e["gain"].below(-HARM),
        wrong=e["cost"].above(HARM) and e["domain"].below(0.3),
    )


def r3(e: Effects) -> str:
    """A small batch is less noisy."""
    return decide(holds=e["trained"].below(0), wrong=e["frozen"].above(0) and e["trained"].above(0))


def r4(e: Effects) -> str:
    """The gradient is the same and memory less; in part: the usual mean of means is biased."""
    right = e["gradient"].below(-6) and e["activations"].below(1)
    return decide(
        holds=right and e["bias"].below(0.01),
        part=right and e["bias"].above(0.01),
        wrong=e["gradient"].above(-6) or e["activations"].above(1),
    )


def r5(e: Effects) -> str:
    """Two curves of training loss look alike, and a probe tells them apart."""
    return decide(
        holds=e["hard rows"].above(SPIKE) and e["pulse"].above(SPIKE) and e["probe"].above(HARM),
        wrong=e["probe"].below(HARM),
    )


def r6(e: Effects) -> str:
    """Held-out loss rises when the model is hurt, and only then."""
    apart = e["pulse"].low > e["hard rows"].high
    return decide(
        holds=e["pulse"].above(HARM) and apart and e["calm"].below(HARM),
        wrong=e["pulse"].below(HARM),
    )


def r7(e: Effects) -> str:
    """Some combination removes the spike; in part: the rate changes what comes after."""
    heights = [interval for name, interval in e.items() if name.startswith("height ")]
    changes = [interval for name, interval in e.items() if name.startswith("change ")]
    always_a_spike = all(height.above(SPIKE) for height in heights)
    rate_matters = not e["rate"].within(-HARM, HARM)
    return decide(
        holds=not always_a_spike and any(change.below(-SAME) for change in changes),
        part=always_a_spike and rate_matters,
        wrong=always_a_spike and not rate_matters,
    )


def r8(e: Effects) -> str:
    """Rolling back helps in both cases; in part: it cures an instability, not hard rows."""
    cured = e["cure"].below(-HARM)
    return decide(
        holds=cured and (e["replay"].below(-HARM) or e["skip"].below(-HARM)),
        part=cured and e["replay"].above(-HARM) and e["skip"].above(-HARM),
        wrong=e["cure"].above(0),
    )


def r9(e: Effects) -> str:
    """Neither hard rows nor an instability leave harm; in part: hard rows do not."""
    harmless = e["hard rows"].below(HARM)
    return decide(
        holds=harmless and e["pulse"].below(HARM),
        part=harmless and e["pulse"].above(HARM),
        wrong=e["hard rows"].above(HARM),
    )


RULES: Mapping[str, Rule] = {
    rule.__name__.upper(): rule
    for rule in (c1, c2, c3, c4, c5, c6, c7, r1, r2, r3, r4, r5, r6, r7, r8, r9)
}
