"""Curves that look alike: which passes are compared, and which pairs the search returns."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from science.toy import records_of

from minimind_lite.records import Run
from minimind_lite.science import look_alikes
from minimind_lite.science.store import Trial
from minimind_lite.segments import LARGE

STEPS, BATCH = 60, 16
CODE = {"domain": "code", "start": 16 * 40, "stop": 16 * 44}
WAVE = 5 + 0.1 * np.sin(np.arange(STEPS))


def trial(
    variant: str,
    *,
    height: float = 1.0,
    end: float = 6.0,
    settings: dict | None = None,
    **info: object,
) -> Trial:
    """A pass with a spike at steps 40 to 43 whose off-domain held-out loss ends at `end`."""
    losses = WAVE.copy()
    losses[40:44] += height
    records = [
        replace(record, probes=dict.fromkeys(LARGE, 6.5) if i % 20 == 0 else {})
        for i, record in enumerate(records_of(losses.tolist(), batch=BATCH))
    ]
    after = dict.fromkeys(LARGE, end)
    run = Run({"segments": [CODE], "probes_after": after, **info}, tuple(records))
    return Trial("E1", variant, 0, {"settings": settings or {}}, {}, run)


class Records:
    """Recorded trials by variant, as an `Evidence` gives them."""

    def __init__(self, trials: list[Trial]) -> None:
        self.trials = {t.variant: t for t in trials}
        self.store = SimpleNamespace(
            seeds=lambda e, v: [0] if e == "E1" and v in self.trials else []
        )

    def trial(self, experiment: str, variant: str, seed: int) -> Trial:
        return self.trials[variant]


def names(trials: list[Trial]) -> list[str]:
    return [t.variant for t in trials]


@pytest.fixture
def experiment(monkeypatch):
    """E1 has these variants, and there is no other experiment."""

    def declare(*variants: tuple[str, dict]) -> None:
        declared = [SimpleNamespace(name=name, settings=settings) for name, settings in variants]
        experiment = SimpleNamespace(id="E1", variants=declared)
        monkeypatch.setattr(look_alikes, "EXPERIMENTS", {"E1": experiment})

    return declare


def test_only_plain_passes_of_the_same_model_are_compared(experiment):
    trials = [
        trial("file"),
        trial("frozen", settings={"config": {"optimizer": "none"}}),
        trial("large batches", settings={"config": {"batch_size": 64}}),
        trial("garbage", settings={"rows": "garbage"}),
        trial("blocks", family="blocks"),
        trial("lite"),
        trial("sgd", settings={"config": {"optimizer": "sgd"}}),
    ]
    experiment(*((t.variant, {"model": "lite"} if t.variant == "lite" else {}) for t in trials))
    assert names(look_alikes.passes(Records(trials), 0)) == ["file", "sgd"]
    assert look_alikes.passes(Records(trials), 1) == []


def test_a_pass_that_left_rows_out_or_read_some_twice_is_not_plain(experiment):
    whole = trial("whole")
    twice = (*whole.run.records, whole.run.records[3])
    again = replace(whole, variant="again", run=Run(whole.run.info, twice))
    gap = replace(whole, variant="gap", run=whole.run.every(2))
    unmeasured = tuple(replace(record, probes={}) for record in whole.run.records)
    blind = replace(whole, variant="blind", run=Run(whole.run.info, unmeasured))
    experiment(*((name, {}) for name in ("whole", "again", "gap", "blind")))
    assert names(look_alikes.passes(Records([whole, again, gap, blind]), 0)) == ["whole"]


def test_a_pair_by_hand():
    pair = look_alikes.compare(trial("a", end=6.0), trial("b", height=1.25, end=5.6))
    assert pair.height_gap == pytest.approx(0.25) and not pair.look_alike
    assert pair.end_gap == pytest.approx(-0.4) and 0.98 < pair.correlation < 1


def test_the_search_returns_the_look_alikes_that_end_furthest_apart(experiment):
    trials = [trial("a"), trial("b", height=1.1, end=5.8), trial("c", height=0.9, end=5.5)]
    trials.append(trial("tall", height=2.0, end=3.0))  # further apart, but no look-alike
    experiment(*((t.variant, {}) for t in trials))
    pair = look_alikes.furthest_look_alikes(look_alikes.pairs(Records(trials), 0))
    assert pair is not None and (pair.first.variant, pair.second.variant) == ("a", "c")
    assert pair.end_gap == pytest.approx(-0.5) and pair.height_gap == pytest.approx(0.1)


def test_the_search_returns_unlike_curves_with_one_end(experiment):
    trials = [trial("a"), trial("b", height=1.1, end=6.04), trial("flat", height=0.0)]
    trials.append(trial("tall", height=4.0, end=5.0))  # ends elsewhere
    experiment(*((t.variant, {}) for t in trials))
    pair = look_alikes.unlike_with_one_end(look_alikes.pairs(Records(trials), 0))
    assert pair is not None and (pair.first.variant, pair.second.variant) == ("b", "flat")
    assert pair.tallest_gap == pytest.approx(1.1, abs=0.2) and pair.end_gap == pytest.approx(-0.04)


def test_a_search_may_end_without_a_pair():
    pair = look_alikes.compare(trial("a"), trial("b", height=3.0, end=5.0))
    assert look_alikes.furthest_look_alikes([pair]) is None
    assert look_alikes.unlike_with_one_end([pair]) is None


def test_facts_of_a_tall_spike_that_forgets_nothing():
    facts = look_alikes.facts(trial("tall", height=3.0))
    assert facts["tallest step"] == pytest.approx(3.0, abs=0.2)
    assert facts["spikes"] == 1 and facts["forgotten"] == 0


def test_facts_of_a_flat_curve_that_forgets_one_domain():
    flat = trial("flat", height=0.0)  # held-out at 6.5 on the way, 6.0 at the end
    after = flat.run.info["probes_after"] | {"en": 7.25}
    run = Run({**flat.run.info, "probes_after": after}, flat.run.records)
    facts = look_alikes.facts(replace(flat, run=run))
    assert facts["spikes"] == 0 and facts["tallest step"] < 0.3
    assert facts["forgotten"] == pytest.approx(0.75)
