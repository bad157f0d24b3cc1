"""A trial is run once, recorded whole, and found again; what is missing is said."""

import json

import numpy as np
import pytest

from minimind_lite.config import TrainConfig
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import claims, experiments, trials
from minimind_lite.science.trials import Experiment, Outcome, Store, Variant


def a_run(steps: int = 3) -> Run:
    records = tuple(
        StepRecord(
            step=i,
            epoch=0,
            samples_seen=2 * i,
            loss=5.0 + i / 7,
            tokens=7,
            lr=0.1,
            grad_norm=1.0,
            micro_losses=np.array([5.0 + i / 7]),
            rows=np.array([2 * i + 1, 2 * i]),
            sample_losses=np.array([4.5, np.nan]),
            sample_tokens=np.array([7, 0]),
            seconds=0.0,
            probes={"zh": 5.5} if i == 0 else {},
        )
        for i in range(steps)
    )
    return Run({"train_config": {"batch_size": 2}, "segments": []}, records)


def curve(world, seed, settings):
    return Outcome(a_run(), {"seed": seed, "twice": 2 * settings["x"]})


def failing(world, seed, settings):
    raise ArithmeticError(f"no luck with seed {seed}")


def toy(*variants: Variant) -> Experiment:
    return Experiment(
        "T1",
        "?",
        ("C1",),
        "a bet",
        variants or (Variant("a", curve, {"x": 1}), Variant("b", curve, {"x": 2}, quick=False)),
    )


def test_what_is_stored_comes_back(tmp_path):
    a = toy().variants[0]
    Store(tmp_path).add("T1", a, 3, a.procedure(None, 3, a.settings))
    store = Store(tmp_path)  # another process
    found = store.get("T1", "a", 3)
    assert (
        found.values == {"seed": 3, "twice": 2}
        and found.info["settings"] == {"x": 1}
        and found.info["environment"] == trials.environment()
    )
    assert store.seeds("T1", "a") == [3] and store.seeds("T1", "b") == []
    for before, after in zip(a_run().records, found.run.records, strict=True):
        assert (before.loss, before.step, before.probes, before.tokens) == (
            after.loss,
            after.step,
            after.probes,
            after.tokens,
        )
        assert before.rows.tolist() == after.rows.tolist() and np.array_equal(
            before.sample_losses, after.sample_losses, equal_nan=True
        )


def test_other_settings_are_another_trial(tmp_path):
    store, a = Store(tmp_path), toy().variants[0]
    store.add("T1", a, 0, curve(None, 0, a.settings))
    assert store.has("T1", a, 0) and not store.has("T1", a, 1)
    assert not store.has("T1", Variant("a", curve, {"x": 9}), 0) and not store.has(
        "T1", Variant("a", failing, {"x": 1}), 0
    )
    store.add("T1", Variant("a", curve, {"x": 9}), 0, curve(None, 0, {"x": 9}))  # takes its place
    assert Store(tmp_path).get("T1", "a", 0).values["twice"] == 18


def test_a_missing_trial_says_how_to_make_it(tmp_path):
    with pytest.raises(
        LookupError, match=r"no trial E3 'sgd' with seed 0 .* claims --only E3 makes it"
    ):
        Store(tmp_path).get("E3", "sgd", 0)


def test_a_writer_that_was_killed_leaves_the_table_as_it_was(tmp_path):
    store, a = Store(tmp_path), toy().variants[0]
    store.add("T1", a, 0, curve(None, 0, a.settings))
    (tmp_path / ".T1.123.tmp").write_bytes(b"half a table")
    assert Store(tmp_path).seeds("T1", "a") == [0]


def test_missing_trials_come_seed_by_seed(tmp_path):
    store, e = Store(tmp_path), toy()
    store.add("T1", e.variants[1], 0, curve(None, 0, e.variants[1].settings))
    names = lambda **how: [
        (j.seed, j.variant.name) for j in trials.missing([e], store, (0, 1), **how)
    ]
    assert names() == [(0, "a"), (1, "a"), (1, "b")]
    assert names(quick=True) == [(0, "a"), (1, "a")] and len(names(fresh=True)) == 4


def test_every_trial_is_recorded_and_none_is_run_twice(tmp_path, monkeypatch):
    """In this process: the pool's own part is a library's."""
    monkeypatch.setattr(trials, "World", lambda: None)
    monkeypatch.setattr(trials, "ProcessPoolExecutor", lambda *_, **__: Here())
    e = toy(
        Variant("a", curve, {"x": 1}),
        Variant("bad", failing, {"x": 1}),
        Variant("c", curve, {"x": 3}),
    )
    store = Store(tmp_path)
    with pytest.raises(
        RuntimeError, match=r"1 trials failed: T1 'bad' seed 0. The first: .*no luck with seed 0"
    ):
        list(trials.run(trials.missing([e], store, (0,)), store, processes=1))
    assert (
        Store(tmp_path).seeds("T1", "a") == Store(tmp_path).seeds("T1", "c") == [0]
    )  # one that fails stops no other
    assert [j.variant.name for j in trials.missing([e], Store(tmp_path), (0,))] == ["bad"]


class Here:
    """A pool that runs at once."""

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        done = Future()
        try:
            done.set_result(function(*arguments))
        except ArithmeticError as error:
            done.set_exception(error)
        return done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def shutdown(self, **_):
        pass


def test_the_fingerprint_sees_numbers_and_not_words(tmp_path):
    meaning = lambda text: (
        (tmp_path / "m.py").write_text(text) and trials._meaning(tmp_path / "m.py")
    )
    plain = meaning("def f(x):\n    return x + 1\n")
    assert plain == meaning(
        '"""About."""\n\ndef f(x):\n    """Adds."""\n    # why\n    return (x +\n            1)\n'
    )
    assert plain != meaning("def f(x):\n    return x + 2\n")


# The catalogue


@pytest.mark.parametrize("experiment", experiments.EXPERIMENTS.values(), ids=lambda e: e.id)
def test_an_experiment_is_declared_in_plain_values(experiment):
    assert experiment.question.endswith("?") and experiment.prediction and experiment.claims
    assert len({v.name for v in experiment.variants}) == len(experiment.variants) > 0
    for variant in experiment.variants:
        assert json.loads(json.dumps(variant.settings)) == variant.settings and variant.cost > 0
        TrainConfig.from_dict(
            variant.settings.get("config", {})
        )  # raises for a field or value that there is not


def test_every_claim_is_somebody_s_business():
    named = {c for e in experiments.EXPERIMENTS.values() for c in e.claims}
    assert named == {c.id for c in claims.CLAIMS} and len(named) == 16
