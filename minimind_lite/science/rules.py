"""What decides on each claim: one rule for each, over the deciding effects of `claims.toml`.

An effect is an interval over layouts, and over base models where several were run. A rule compares
it with fixed margins. Nothing in a verdict is typed in by hand. Whether a rule was written before
the runs or when their records were known is declared beside each claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from minimind_lite.science.intervals import Interval, Measured
from minimind_lite.spikes import MIN_HEIGHT

SPIKE = MIN_HEIGHT  # nats: what the detector takes for a spike
SAME = 0.3  # nats: two heights are the same if their difference is shown to be smaller
SAME_RECOVERY = 32  # conversations: two batches; times that differ by less are the same
HARM = 0.1  # nats of loss: less is no harm, more is
PREDICTS = 0.5  # rank correlation: less predicts nothing of use

SUPPORTED = "supported"
PART = "supported in part"
NOT_SUPPORTED = "not supported"  # the data don't show it, and could have
CONTRADICTED = "contradicted"  # the data show the other side of it
NOT_HERE = "not tested here"
UNCLEAR = "can't tell with these layouts"  # intervals that reach across a margin, or one layout

Effects = Mapping[str, Measured]
Rule = Callable[[Effects], str]


def decide(
    *, supported: bool = False, part: bool = False, nothing: bool = False, contrary: bool = False
) -> str:
    """The outcome whose condition is true. None is, or several: nothing can be told.

    `nothing` (not supported) gives way to any of the others.
    """
    conditions = {SUPPORTED: supported, PART: part, CONTRADICTED: contrary}
    outcomes = [outcome for outcome, is_true in conditions.items() if is_true]
    if nothing and not outcomes:
        return NOT_SUPPORTED
    return outcomes[0] if len(outcomes) == 1 else UNCLEAR


def c1(e: Effects) -> str:
    """Segments make the loss jump, most are flagged, and domain explains more than length does."""
    return decide(
        supported=e["jump"].above(SPIKE) and e["flagged"].mean > 3 and e["domain"].above(0),
        nothing=e["jump"].below(SPIKE),
        contrary=e["jump"].below(0),
    )


def c2(e: Effects) -> str:
    """A larger batch makes the spike taller; in part: only against the noise, and fatter."""
    taller, visible = e["taller"], e["z"].above(0) or e["fatter"].above(HARM)
    return decide(
        supported=taller.above(HARM),
        part=taller.below(HARM) and visible,
        nothing=taller.below(HARM),
        contrary=taller.below(HARM) and e["z"].below(0) and e["fatter"].below(0),
    )


def c3(e: Effects) -> str:
    """Nothing is lost, and the return is the model's; contradicted: something is lost."""
    if not e["control"].above(HARM):
        return UNCLEAR
    lost = [e["forgotten"], e["dent"]]
    unhurt = all(effect.below(HARM) for effect in lost)
    return decide(
        supported=unhurt and e["frozen"].above(SAME_RECOVERY),
        nothing=unhurt and e["frozen"].below(SAME_RECOVERY),
        contrary=any(effect.above(HARM) for effect in lost),
    )


def c4(e: Effects) -> str:
    """Height follows divergence, whatever was seen; in part: it falls with exposure."""
    return decide(
        supported=e["correlation"].above(PREDICTS) and _within(e["exposure"], SAME),
        part=e["exposure"].below(-SAME),
        contrary=e["correlation"].below(0),
    )


def c5(e: Effects) -> str:
    """Without an adaptive step the excess halves later; in part: inside long blocks alone."""
    others = [e["sgd"], e["momentum"]]
    slower = all(effect.above(SAME_RECOVERY) for effect in others)
    return decide(
        supported=slower and e["mixed"].above(SAME_RECOVERY),
        part=slower and e["mixed"].below(SAME_RECOVERY),
        nothing=all(effect.below(SAME_RECOVERY) for effect in others),
        contrary=all(effect.below(-SAME_RECOVERY) for effect in others),
    )


def c6(e: Effects) -> str:
    """Every domain is learnt, and a larger model ends no lower; in part: it does."""
    learnt = e["least"].above(HARM)
    return decide(
        supported=learnt and e["larger"].below(HARM),
        part=learnt and e["larger"].above(HARM),
        nothing=e["least"].below(HARM),
        contrary=e["least"].below(0),
    )


def c7(e: Effects) -> str:
    """Known before any result: there is one architecture here, in three sizes."""
    return NOT_HERE


def r1(e: Effects) -> str:
    """Shuffling removes the spikes and costs nothing; in part: it costs held-out loss."""
    lower = e["tallest"].below(-SPIKE)
    return decide(
        supported=lower and e["events"].mean < 0.5 and e["held-out"].below(HARM),
        part=lower and e["held-out"].above(HARM),
        nothing=e["tallest"].above(-SPIKE),
        contrary=e["tallest"].above(0),
    )


def r2(e: Effects) -> str:
    """Removing rows costs nothing and helps; in part: it un-learns, but classifying explains."""
    costs, explains = e["cost"].above(HARM), e["domain"].above(0.3)
    return decide(
        supported=e["cost"].below(HARM) and e["broken"].above(0),
        part=costs and explains and not e["gain"].below(-HARM),
        contrary=costs and e["domain"].below(0.3),
    )


def r3(e: Effects) -> str:
    """A small batch is less noisy."""
    return decide(
        supported=e["trained"].below(0),
        contrary=e["trained"].above(0) and e["frozen"].above(0),
    )


def r4(e: Effects) -> str:
    """The gradient is the same and memory less; in part: the usual mean of means is biased."""
    right = e["gradient"].below(-6) and e["activations"].below(1)
    return decide(
        supported=right and e["bias"].below(0.01),
        part=right and e["bias"].above(0.01),
        contrary=e["gradient"].above(-6) or e["activations"].above(1),
    )


def r5(e: Effects) -> str:
    """Two curves of training loss look alike, and a probe tells them apart."""
    alike = e["hard rows"].above(SPIKE) and e["pulse"].above(SPIKE)
    return decide(
        supported=alike and e["probe"].above(HARM),
        nothing=alike and e["probe"].below(HARM),
        contrary=e["probe"].below(-HARM),
    )


def r6(e: Effects) -> str:
    """The bulk's held-out loss rises when the model is hurt, and only then."""
    pulse, others = e["pulse"], [e["hard rows"], e["calm"]]
    return decide(
        supported=pulse.above(HARM) and all(effect.below(HARM) for effect in others),
        nothing=pulse.below(HARM),
        contrary=pulse.below(HARM) and any(effect.above(HARM) for effect in others),
    )


def r7(e: Effects) -> str:
    """Some combination removes the spike; in part: the rate changes what comes after."""
    always_a_spike = e["lowest"].above(SPIKE)
    return decide(
        supported=e["lowest"].below(SPIKE),
        part=always_a_spike and (e["rate"].above(HARM) or e["rate"].below(-HARM)),
        nothing=always_a_spike,
    )


def r8(e: Effects) -> str:
    """Rolling back helps in both cases; in part: it cures an instability, not hard rows."""
    cured, policies = e["cure"].below(-HARM), [e["replay"], e["skip"]]
    return decide(
        supported=cured and any(effect.below(-HARM) for effect in policies),
        part=cured and all(effect.above(-HARM) for effect in policies),
        nothing=e["cure"].above(-HARM),
        contrary=e["cure"].above(0),
    )


def r9(e: Effects) -> str:
    """What one need not worry about costs nothing; in part: an instability does."""
    order = [e["order"], e["bulk"]]
    harmless = all(effect.below(HARM) for effect in order)
    return decide(
        supported=harmless and e["pulse"].below(HARM),
        part=harmless and e["pulse"].above(HARM),
        contrary=any(effect.above(HARM) for effect in order) and e["pulse"].above(HARM),
    )


def n1(e: Effects) -> str:
    """No rank correlation of height and harm, and a pair of runs that shows it."""
    blind = all(e[name].below(PREDICTS) for name in ("dent", "lost"))
    predicts = all(e[name].above(PREDICTS) for name in ("dent", "lost"))
    pair = e["pair's spike"].above(SPIKE) and e["pair's price"].above(HARM)
    return decide(
        supported=blind and pair, part=pair and not blind and not predicts, contrary=predicts
    )


def n2(e: Effects) -> str:
    """File order costs off-domain loss, in mixed files and in blocks, and a shuffled pass none."""
    price, shuffled = e["mixed"], e["shuffled"].below(0)
    in_blocks = e["blocks"].above(HARM) and e["orders"].above(0)
    return decide(
        supported=price.above(HARM) and shuffled and in_blocks,
        part=price.above(HARM) and shuffled and not in_blocks,
        nothing=price.below(HARM),
        contrary=price.below(0),
    )


def n3(e: Effects) -> str:
    """The same rows fall with exposure, and divergence doesn't order them; in part: it does."""
    exposed, blind = e["exposure"].below(-SAME), e["correlation"].below(PREDICTS)
    return decide(
        supported=exposed and blind,
        part=exposed and not blind,
        nothing=e["exposure"].above(-SAME),
        contrary=e["exposure"].above(0),
    )


def n4(e: Effects) -> str:
    """The mean inside grows with the batch, the first batch's height doesn't; in part: both."""
    wider = e["wider"].above(HARM)
    return decide(
        supported=wider and e["taller"].below(HARM),
        part=wider and e["taller"].above(HARM),
        nothing=e["wider"].below(HARM),
        contrary=e["wider"].below(0),
    )


def n5(e: Effects) -> str:
    """The bulk's probe rises at once after a pulse, never with hard rows; in part: by less."""
    pulse, others = e["pulse"], [_interval(e, name) for name in ("hard rows", "segments")]
    unmoved = all(effect.below(HARM) for effect in others)
    apart = all(effect.high < _interval(e, "pulse").low for effect in others)
    return decide(
        supported=pulse.above(HARM) and unmoved,
        part=pulse.above(HARM) and apart and not unmoved,
        nothing=pulse.below(HARM),
        contrary=pulse.below(HARM) and any(effect.above(HARM) for effect in others),
    )


def n6(e: Effects) -> str:
    """Either term is the larger where it was bet, and specialization grows as it was bet."""
    grows = [e["length"].above(HARM), e["exposure"].above(HARM)]
    mixed, narrow = e["mixed"].below(0), e["narrow"].above(0)
    return decide(
        supported=all(grows) and mixed and narrow,
        part=any(grows) and (mixed or narrow) and not (all(grows) and mixed and narrow),
        nothing=e["length"].below(HARM) and e["exposure"].below(HARM),
        contrary=e["length"].below(0) or (e["mixed"].above(0) and e["narrow"].below(0)),
    )


def _within(effect: Measured, margin: float) -> bool:
    return effect.above(-margin) and effect.below(margin)


def _interval(e: Effects, name: str) -> Interval:
    effect = e[name]
    assert isinstance(effect, Interval), "counts are compared with numbers, not with each other"
    return effect


RULES: Mapping[str, Rule] = {
    rule.__name__.upper(): rule
    for rule in (
        *(c1, c2, c3, c4, c5, c6, c7),
        *(r1, r2, r3, r4, r5, r6, r7, r8, r9),
        *(n1, n2, n3, n4, n5, n6),
    )
}
