"""The pictures of docs/results.md, from the recorded trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from minimind_lite.plots import detectors as detector_plots
from minimind_lite.plots import exposure, forgetting, resuming
from minimind_lite.plots.base import Plot
from minimind_lite.plots.decomposition import (
    frozen_against_trained,
    regime_map,
    specialization,
    stacked_terms,
)
from minimind_lite.records import Run
from minimind_lite.science import (
    decomposition,
    detectors,
    look_alikes,
    regimes,
    responses,
    resume_costs,
)
from minimind_lite.science import forgetting as measure
from minimind_lite.science.evidence import Evidence, Which
from minimind_lite.science.experiments import E19
from minimind_lite.science.harm_experiments import OPTIMIZERS
from minimind_lite.science.intervals import Interval, interval_over_seeds
from minimind_lite.science.look_alikes import FLAT, TALL, Pair
from minimind_lite.science.store import Trial
from minimind_lite.segments import LARGE

FILE, FROZEN, SHUFFLED = ("E1", "file"), ("E1", "frozen"), ("E1", "shuffled")
CLOSE, CLOSE_SHUFFLED = ("E13", "file"), ("E13", "shuffled")  # closely probed
BLOCKS, FROZEN_BLOCKS = ("E17", "blocks, file"), ("E17", "blocks, frozen")
SHOWN = 0  # the layout of single runs
SHOWN_RESUMES = 0  # the layout whose resumes are shown
SHOWN_CONTROLS = 1  # one whose flat curve has no flagged spike


def draw(evidence: Evidence) -> Iterator[tuple[str, Plot]]:
    """Each picture with its name. Raises `MissingTrials`."""
    for name, picture in PICTURES.items():
        yield name, picture(evidence)


def _trials(evidence: Evidence, *which: Which) -> Iterator[tuple[Trial, ...]]:
    """Trials of the same layout, for each layout that has them all."""
    for seed in evidence.common(*which):
        yield tuple(evidence.trial(*w, seed) for w in which)


def terms(evidence: Evidence) -> Plot:
    """Both families, where segments and blocks start."""
    return stacked_terms(
        {
            "short segments in a file of Chinese": regimes.by_segment(evidence, FILE, FROZEN),
            "a file of long blocks": regimes.by_segment(evidence, BLOCKS, FROZEN_BLOCKS),
        },
        title="A spike is unfamiliar + transferred or forgotten + specialized",
    )


def map_of_regimes(evidence: Evidence) -> Plot:
    """Exposure of the base x length of the blocks."""
    return regime_map(regimes.regime_map(evidence))


def specialization_by_length(evidence: Evidence) -> Plot:
    """How far the last block has come down, by exposure and length."""
    return specialization(regimes.regime_map(evidence))


def prediction(evidence: Evidence) -> Plot:
    """Frozen heights against trained ones."""
    points = regimes.frozen_against_trained(evidence)
    return frozen_against_trained(points, {n: regimes.fit(p) for n, p in points.items()})


def courses(evidence: Evidence) -> Plot:
    """Five held-out curves over one file."""
    file, shuffled = (evidence.trial(*w, SHOWN).run for w in (CLOSE, CLOSE_SHUFFLED))
    return forgetting.learnt_and_forgotten(
        file,
        shuffled,
        title="Held-out losses over one file: what is read is learnt, and some of it is lost again",
    )


def matrix(evidence: Evidence) -> Plot:
    """What is learnt and forgotten while a domain is read."""

    def over_layouts(which: Which) -> dict[str, dict[str, Interval]]:
        runs = [trial.run for (trial,) in _trials(evidence, which)]
        return measure.tables_over_layouts(map(measure.matrix, runs))

    return forgetting.forgetting_matrix(
        {
            "file order": over_layouts(CLOSE),
            "shuffled, over the same steps": over_layouts(CLOSE_SHUFFLED),
        },
        title="Classical Chinese makes the model forget; the other domains mostly don't",
    )


def dents(evidence: Evidence) -> Plot:
    """What a segment leaves on the Chinese batches after it."""
    pairs = [(t.run, f.run) for t, f in _trials(evidence, FILE, FROZEN)]
    by_layout = [measure.dent_curves(trained, frozen) for trained, frozen in pairs]
    lives = [measure.dent_half_lives(trained, frozen) for trained, frozen in pairs]
    classical = [life["zh_classical"] for life in lives if np.isfinite(life["zh_classical"])]
    return forgetting.dents(
        {domain: [curves[domain] for curves in by_layout] for domain in LARGE},
        {"zh_classical": interval_over_seeds(classical)},
        title="Classical Chinese, the lowest spike, leaves a dent in Chinese",
    )


def dose_response(evidence: Evidence) -> Plot:
    """Dents by learning rate and by length."""
    measured = responses.responses(evidence)

    def lines(along: str, fixed: float) -> dict[str, dict[float, Interval]]:
        return {
            domain: responses.curve(measured, "dent", along=along, domain=domain, fixed=fixed)
            for domain in LARGE
        }

    return forgetting.dose_response(
        {
            "learning rate, times the usual (128 conversations)": lines("rate", 128),
            "conversations of the segment (usual rate)": lines("length", 1),
        },
        ylabel="dent on the next Chinese batch (nats)",
        title="The dent grows with the dose, most for classical Chinese",
    )


def optimizers(evidence: Evidence) -> Plot:
    """Half-life of the excess inside long blocks, against what was learnt."""
    points = {
        name: (
            evidence.over_seeds(learnt, which),
            evidence.over_seeds(half_life_in_blocks, which, FROZEN_BLOCKS),
        )
        for name, which in by_optimizer(evidence, BLOCKS, prefix="blocks, ").items()
    }
    return forgetting.against_learning(
        points,
        ylabel="half-life of the excess in a block (conversations)",
        title="At a fifth of its rate Adam is not the quicker one",
    )


def by_optimizer(evidence: Evidence, usual: Which, *, prefix: str = "") -> dict[str, Which]:
    """Recorded passes like `usual`, Adam's at its own rate, under each optimizer and rate."""
    experiment, _ = usual
    passes = {name: (experiment, f"{prefix}{name}") for name in OPTIMIZERS}
    recorded = {name: which for name, which in passes.items() if evidence.store.seeds(*which)}
    return {"adam 5e-4": usual} | recorded


def learnt(trial: Trial) -> float:
    """Fall of held-out Chinese over the pass, nats."""
    return measure.learnt(trial.run)


def half_life_in_blocks(trained: Trial, frozen: Trial) -> float:
    """Median over the blocks of a file, conversations."""
    return float(np.nanmedian(list(measure.half_lives(trained.run, frozen.run).values())))


def mean_height(trained: Trial, frozen: Trial) -> float:
    """Mean over the blocks of a file that have one before them, nats."""
    terms = decomposition.of_runs(trained.run, frozen.run).values()
    return float(np.mean([each.height for each in terms]))


def look_alike_pairs(evidence: Evidence) -> Plot:
    """The two pairs of recorded passes, of all layouts, that show it best."""
    candidates = [
        pair for seed in evidence.common(FILE, CLOSE) for pair in look_alikes.pairs(evidence, seed)
    ]
    shown = {
        "curves that look alike and end apart": look_alikes.furthest_look_alikes(candidates),
        "unlike curves that end alike": look_alikes.unlike_with_one_end(candidates),
    }
    return forgetting.look_alikes(
        {
            f"{name} (layout {pair.first.seed})": _runs(pair)
            for name, pair in shown.items()
            if pair is not None
        },
        title="The heights of spikes do not show what is learnt",
    )


def _runs(pair: Pair) -> dict[str, Run]:
    return {f"{t.experiment} {t.variant}": t.run for t in (pair.first, pair.second)}


def controls(evidence: Evidence) -> Plot:
    """A spike that harms nothing, and a flat curve that forgets."""
    tall, flat = (evidence.trial(*which, SHOWN_CONTROLS) for which in (TALL, FLAT))
    return forgetting.look_alikes(
        {
            "maths late and all at once; English early": {
                "tall spike": tall.run,
                "flat curve": flat.run,
            }
        },
        probes=("en",),
        title="A tall spike with nothing forgotten, and a flat curve that forgets",
    )


def heights_by_exposure(evidence: Evidence) -> Plot:
    """Frozen heights where the base has read 0, 2 or 20 conversations of the domain."""
    variants = {0: ("E11", "exposure 0"), 2: FROZEN, 20: ("E11", "exposure 20")}
    heights = {
        domain: {
            k: interval_over_seeds(
                [trial.readings[domain].height for (trial,) in _trials(evidence, which)]
            )
            for k, which in variants.items()
        }
        for domain in LARGE
    }
    return exposure.height_by_exposure(
        heights, title="The more the base has read of a domain, the lower its spike"
    )


def what_explains(evidence: Evidence) -> Plot:
    """Shares of the variance of conversations' losses."""
    tables = [keys.values["explained"] for (keys,) in _trials(evidence, ("E6", "sort keys"))]
    return exposure.explained(
        measure.over_layouts(tables),
        title="The domain explains most of a loss",
    )


def ways_of_resuming(evidence: Evidence) -> Plot:
    """Each way of resuming a run over the uninterrupted one, and what it costs."""
    whole = evidence.trial(*resume_costs.WHOLE, SHOWN_RESUMES)
    f = resume_costs.fraction(whole)
    return resuming.ways_of_resuming(
        {
            variant.name: resuming.Resumed(
                evidence.trial(E19.id, variant.name, SHOWN_RESUMES).run,
                resume_costs.over_layouts(evidence, variant.name),
                resume_costs.expected_shares(variant.settings, f),
            )
            for variant in E19.variants
            if variant.name in resume_costs.WAYS
        },
        whole.run,
        broken_at=resume_costs.broken_at(whole),
        title="Ways of resuming, against the uninterrupted run",
    )


def detector_hits(evidence: Evidence) -> Plot:
    """Segments that each detector flags, of data/detectors.json."""
    return detector_plots.hits(detectors.recorded())


def detector_alarms(evidence: Evidence) -> Plot:
    """False alarms of each detector, of data/detectors.json."""
    return detector_plots.false_alarms(detectors.recorded())


PICTURES: Mapping[str, Callable[[Evidence], Plot]] = {
    "terms": terms,
    "regimes": map_of_regimes,
    "specialization": specialization_by_length,
    "frozen_trained": prediction,
    "learnt_forgotten": courses,
    "forgetting_matrix": matrix,
    "dents": dents,
    "doses": dose_response,
    "optimizers": optimizers,
    "look_alikes": look_alike_pairs,
    "controls": controls,
    "exposure": heights_by_exposure,
    "explained": what_explains,
    "resuming": ways_of_resuming,
    "detector_hits": detector_hits,
    "detector_alarms": detector_alarms,
}
