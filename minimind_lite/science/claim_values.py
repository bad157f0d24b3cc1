"""Numbers of recorded trials that one claim asks for. Those that several ask for are in `evidence`.

Each takes a trial, or several of one seed, and gives a number.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from minimind_lite.science import decomposition, evidence, forgetting
from minimind_lite.science.rules import HARM
from minimind_lite.science.store import Trial
from minimind_lite.segments import CHINESE, LARGE, MAIN

CLASSICAL = "zh_classical"


def explained_by_domain(keys: Trial) -> float:
    """Share of the variance of losses between domains (E6)."""
    return keys.values["explained"]["domain"]


def explained_by_domain_over_length(keys: Trial) -> float:
    """More than between answer lengths by (E6)."""
    return explained_by_domain(keys) - keys.values["explained"]["answer length"]


def rank_correlation(keys: Trial, frozen: Trial) -> float:
    """Of the divergences of the segments (E6) with their heights."""
    from scipy.stats import spearmanr

    divergence = keys.values["divergence"]
    heights = [frozen.readings[label].height for label in divergence]
    return float(spearmanr(list(divergence.values()), heights).statistic)


def height_of_unseen(trial: Trial) -> float:
    """Mean height of the domains that a base without exposure has not seen (E11), nats."""
    return float(np.mean([trial.readings[label].height for label in ("code", "en", "math")]))


def height_at_256_over_16(frozen: Trial) -> float:
    """Change of the mean height from batch 16 to 256, nats."""
    return evidence.visibility_at(frozen, 256).height - evidence.visibility_at(frozen, 16).height


def z_at_64_over_4(frozen: Trial) -> float:
    """Change of the mean z from batch 4 to 64."""
    return evidence.visibility_at(frozen, 64).z - evidence.visibility_at(frozen, 4).z


def noise_at_4_over_64(frozen: Trial) -> float:
    """Change of the noise from batch 64 to 4, nats."""
    return evidence.visibility_at(frozen, 4).noise - evidence.visibility_at(frozen, 64).noise


def activations_saved(audit: Trial) -> float:
    """Bytes of activations, micro-batch of 1 / of 16 (E7)."""
    activations = audit.values["bytes"]["activations"]
    return activations["1"] / activations["16"]


def memory_saved(audit: Trial) -> float:
    """All bytes of a step, micro-batch of 1 / of 16 (E7)."""
    used = audit.values["bytes"]
    rest = used["weights"] + used["gradients"] + used["optimizer"]
    return (used["activations"]["1"] + rest) / (used["activations"]["16"] + rest)


def log_gradient_difference(audit: Trial) -> float:
    """log10 of the relative difference between cuts of a batch (E7)."""
    return float(np.log10(audit.values["gradient_difference"] + 1e-20))


def distance_of_means(trial: Trial) -> float:
    """Mean over the steps of |mean of means - token mean|, nats."""
    records = trial.run.records
    return float(np.mean([abs(np.nanmean(r.micro_losses) - r.loss) for r in records]))


def fall_of_least(trial: Trial) -> float:
    """Fall of held-out loss over the pass, of the off-domain domain that falls least, nats."""
    before, after = trial.run.records[0].probes, trial.run.info["probes_after"]
    return float(min(before[probe] - after[probe] for probe in LARGE))


def forgotten(trial: Trial) -> float:
    """Off-domain held-out loss at the end above its lowest, mean over the domains, nats."""
    losses = forgetting.forgotten(trial.run)
    return float(np.mean([losses[probe] for probe in LARGE]))


def most_forgotten(trial: Trial) -> float:
    """The same of the off-domain domain that is forgotten most, nats."""
    losses = forgetting.forgotten(trial.run)
    return max(losses[probe] for probe in LARGE)


def off_domain_change(trial: Trial) -> float:
    """Change of held-out off-domain loss over the pass, mean over the domains, nats."""
    before, after = trial.run.records[0].probes, trial.run.info["probes_after"]
    return float(np.mean([after[probe] - before[probe] for probe in LARGE]))


def lowest_height(*trials: Trial) -> float:
    """Height of the trial whose large segments stand lowest, nats."""
    return min(evidence.height(trial) for trial in trials)


def largest_probe_rise(*trials: Trial) -> float:
    """Largest rise of held-out Chinese in any of several pulse trials, nats."""
    return max(evidence.probe_rise(trial) for trial in trials)


def first_probe_rise(trial: Trial) -> float:
    """Rise of held-out Chinese at the first measurement after a pulse trial's event began, nats."""
    start = trial.run.info["event"][0]
    positions, losses = trial.run.probe(MAIN)
    return float(losses[positions > start][0] - losses[positions <= start][-1])


def bulk_rise(trial: Trial) -> float:
    """Largest rise of held-out Chinese across a segment of a file, nats."""
    return max(rises[MAIN] for rises in forgetting.rises(trial.run).values())


def largest_off_domain_rise(trial: Trial) -> float:
    """Largest rise of an off-domain held-out loss while another segment is read, nats."""
    table = forgetting.rises(trial.run)
    others = [table[s][p] for s in LARGE for p in LARGE if s in table and p != s]
    return max(others)


def dent_after_classical(trained: Trial, frozen: Trial) -> float:
    """What is lost on ordinary rows right after classical Chinese, nats."""
    return forgetting.dents(trained.run, frozen.run)[CLASSICAL]


def height_against_dent(trained: Trial, frozen: Trial) -> float:
    """Correlation of the large segments' heights with the dents after them."""
    return forgetting.height_and_dent(trained, frozen)


def height_against_loss(trial: Trial) -> float:
    """Of the large segments' heights with what the other off-domain domains lose meanwhile."""
    rises = forgetting.rises(trial.run)
    lost = {s: float(np.mean([rises[s][probe] for probe in LARGE if probe != s])) for s in LARGE}
    return forgetting.correlation_with_height(trial, lost)


def half_life(trained: Trial, frozen: Trial) -> float:
    """Mean over the blocks of the excess's half-life, conversations."""
    return float(np.nanmean(list(forgetting.half_lives(trained.run, frozen.run).values())))


def half_life_change(trained: Trial, other: Trial, frozen: Trial) -> float:
    """Half-life under one optimizer minus that under another, conversations.

    Mean over the blocks in which both have an excess.
    """
    first, second = (forgetting.half_lives(trial.run, frozen.run) for trial in (trained, other))
    return float(np.nanmean([first[block] - second[block] for block in first]))


def learnt(trial: Trial) -> float:
    """Fall of held-out Chinese over the pass, nats."""
    return forgetting.learnt(trial.run)


def costs_more(trial: Trial, shuffled: Trial) -> float:
    """1 where off-domain held-out loss ends more than HARM above the shuffled pass's, else 0."""
    price = evidence.change(evidence.held_out_off_domain)(trial, shuffled)
    return float(price > HARM)


def specialized(trained: Trial, frozen: Trial) -> float:
    """Mean over the segments of the specialized term, nats."""
    terms = decomposition.of_runs(trained.run, frozen.run).values()
    return float(np.mean([term.specialized for term in terms]))


def specialized_change(first: Trial, frozen: Trial, other: Trial, other_frozen: Trial) -> float:
    """`specialized` of one pair of runs minus that of another, nats."""
    return specialized(first, frozen) - specialized(other, other_frozen)


def specialized_change_after_chinese(
    first: Trial, frozen: Trial, other: Trial, other_frozen: Trial
) -> float:
    """The same, after Chinese blocks alone, nats."""
    return _specialized_after(first, frozen, CHINESE) - _specialized_after(
        other, other_frozen, CHINESE
    )


def specialized_change_after_others(
    first: Trial, frozen: Trial, other: Trial, other_frozen: Trial
) -> float:
    """The same, after blocks of other domains alone, nats."""
    return _specialized_after(first, frozen, LARGE) - _specialized_after(other, other_frozen, LARGE)


def _specialized_after(trained: Trial, frozen: Trial, domains: Collection[str]) -> float:
    boundaries = decomposition.at_boundaries(trained.run, frozen.run)
    return float(np.mean([b.terms.specialized for b in boundaries if b.before.domain in domains]))


def specialized_over_unfamiliar(trained: Trial, frozen: Trial) -> float:
    """Mean over the segments of |specialized| - |unfamiliar|, nats."""
    terms = decomposition.of_runs(trained.run, frozen.run).values()
    return float(np.mean([abs(term.specialized) - abs(term.unfamiliar) for term in terms]))
