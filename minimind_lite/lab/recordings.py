"""Runs recorded for the Spike Lab: an answer at once for what the knobs say, or an honest "not recorded".

A run is named by its `Setup`. Many setups are one run: how a batch is cut into micro-batches does
not touch its gradient, file order knows no seed, and in one pass "once" and "every epoch" shuffle
alike. So a setup is brought to its plainest form before it is looked up, and its micro-batches are
worked out from the recorded losses of conversations. A frozen model's loss on a conversation does
not depend on order or batch at all: one recorded pass answers for every setup of it.

`python data/build.py --lab` records what is missing (data/lab/runs.parquet).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from minimind_lite.chat import EncodedRows
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.model import LanguageModel
from minimind_lite.order import make
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import laws, trials
from minimind_lite.science.trials import Experiment, Outcome, Store, Variant, World
from minimind_lite.trainer import (
    batch_gradient,
    describe,
    make_optimizer,
    mean_loss,
    train,
    workers_for,
)

ORDERS = ("file", "shuffle_once", "shuffle", "buffer:32", "buffer:128", "buffer:512")
BATCHES = (4, 8, 16, 32, 64, 128, 256)
ACCUMULATION = (1, 2, 4, 8)
RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 5e-2)
PULSES = (1, 10, 40)
SEEDS = (0, 1, 2, 3, 4)
BUFFER_SEEDS = SEEDS[:3]
PULSE_ROWS = (
    960,
    1024,
)  # conversations whose batches a pulse heats (whole batches: more where they are larger); Chinese, in file order
PROBE_ROWS = (
    320  # conversations between two measurements of the held-out probes, whatever the batch
)
LEARN = 8  # steps of a live run that tell more of its speed than a timed batch
TIMED_ROWS = 16  # of the batch from which the time of a run is estimated
MODEL = "nano"  # base of every run of the lab
NAME = "runs"  # of the table under data/lab/


@dataclass(frozen=True)
class Setup:
    """What one run of the lab is: its configuration, and by what factor the learning rate is raised for a moment (1: never).

    The pulse is the lab's true instability: in the batches of the conversations `PULSE_ROWS` the
    learning rate is `pulse` times higher and the gradient not clipped, while the data stay as they are.
    """

    config: TrainConfig = field(default_factory=TrainConfig)
    pulse: int = 1

    def __post_init__(self) -> None:
        if self.pulse < 1:
            raise ValueError(
                f"pulse multiplies the learning rate and is 1 (none) or more, got {self.pulse}."
            )

    def plain(self) -> Setup:
        """The plainest setup with the same losses: what a recording is filed under."""
        c, default = self.config, TrainConfig()
        order, seed = (
            "shuffle" if c.order == "shuffle_once" and c.epochs == 1 else c.order,
            0 if c.order == "file" else c.seed,
        )
        plain = c.replace(order=order, seed=seed, probe_every=0, token_budget=default.token_budget)
        if c.loss_average == "tokens" or c.accumulation_steps() == 1 or c.optimizer == "none":
            plain = plain.replace(micro_batch_size=None, loss_average="tokens")
        if c.optimizer == "none":
            learning = (
                "learning_rate",
                "schedule",
                "betas",
                "eps",
                "momentum",
                "weight_decay",
                "grad_clip",
            )
            return Setup(plain.replace(**{name: getattr(default, name) for name in learning}))
        return Setup(plain, self.pulse)

    def name(self) -> str:
        """Of its recording: the fields that differ from the defaults, without the seed."""
        default = TrainConfig().to_dict() | {"pulse": 1}
        values = self.config.to_dict() | {"pulse": self.pulse}
        return (
            " ".join(f"{k}={v}" for k, v in values.items() if v != default[k] and k != "seed")
            or "default"
        )

    def probe_every(self) -> int:
        """Optimiser steps between two measurements of the probes."""
        return max(1, PROBE_ROWS // self.config.batch_size)


def steps(
    setup: Setup, model: LanguageModel, data: EncodedRows, probes: Mapping[str, EncodedRows]
) -> Iterator[StepRecord]:
    """Train `model` in place as the setup says; a pulse is a stretch of the same run at a higher rate."""
    config = setup.config.replace(probe_every=setup.probe_every() if probes else 0)
    if setup.pulse == 1 or config.optimizer == "none":
        yield from train(model, data, config, probes=probes)
        return
    start, stop = PULSE_ROWS[0] // config.batch_size, -(-PULSE_ROWS[1] // config.batch_size)
    hot = config.replace(learning_rate=config.learning_rate * setup.pulse, grad_clip=0.0)
    optimizer = make_optimizer(model, config)
    for part, first, last in ((config, 0, start), (hot, start, stop), (config, stop, None)):
        if last != first:
            yield from train(
                model,
                data,
                part.replace(max_steps=last),
                probes=probes,
                optimizer=optimizer,
                start_step=first,
            )


def _pass(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """One run of data/sft.jsonl from the shipped base, as a trial."""
    setup = Setup(TrainConfig.from_dict({**settings["config"], "seed": seed}), settings["pulse"])
    model, data = shipped.base_model(MODEL), shipped.sft_rows(world.chat)
    records = tuple(steps(setup, model, data, world.probes))
    after = {name: mean_loss(model, rows) for name, rows in world.probes.items()}
    return Outcome(
        Run(
            describe(model, setup.config, base=MODEL, rows=len(data))
            | {"probes_after": after, "pulse": setup.pulse},
            records,
        )
    )


def plan() -> dict[Setup, tuple[int, ...]]:
    """What is recorded: setups (seed 0 in them) with their seeds, the most wanted first."""
    found: dict[Setup, tuple[int, ...]] = {}

    def add(seeds: tuple[int, ...] = (0,), pulse: int = 1, **config: object) -> None:
        setup = Setup(TrainConfig(**config), pulse).plain()
        found[setup] = max(
            found.get(setup, ()), seeds if setup.config.order != "file" else (0,), key=len
        )

    for order in ("file", "shuffle"):
        for batch in BATCHES:
            add(SEEDS, order=order, batch_size=batch)
        add(order=order, epochs=3)
        add(order=order, pulse=40)
    add(order="shuffle_once", epochs=3)
    for order in ORDERS[3:]:
        for batch in BATCHES:
            add(BUFFER_SEEDS, order=order, batch_size=batch)
    for order in ("file", "shuffle"):
        for rate in RATES:
            add(order=order, learning_rate=rate)
        for rate in (5e-4, 5e-2):
            add(order=order, optimizer="sgd", learning_rate=rate)
        for schedule in ("minimind", "constant"):
            add(order=order, schedule=schedule)
        add(order=order, pulse=10)
    for order in ("file", "shuffle"):
        for batch in (4, 16, 64, 256):
            for parts in [p for p in ACCUMULATION if 1 < p <= batch]:
                add(
                    order=order,
                    batch_size=batch,
                    micro_batch_size=batch // parts,
                    loss_average="micro_batches",
                )
    return found


def experiment() -> Experiment:
    """The plan as an experiment of `trials`, which runs what is missing and never runs anything twice."""
    variants = tuple(
        Variant(
            s.name(),
            _pass,
            {
                "config": {k: v for k, v in s.config.to_dict().items() if k != "seed"},
                "pulse": s.pulse,
            },
            cost=s.config.epochs * (1.5 if s.config.batch_size < 16 else 1.0),
        )
        for s in plan()
    )
    return Experiment(NAME, "What does the curve look like with these knobs?", (), "", variants)


def jobs(store: Store) -> list[trials.Job]:
    """What is still to be recorded."""
    declared, seeds = experiment(), {s.name(): seeds for s, seeds in plan().items()}
    return [
        trials.Job(declared, v, seed)
        for v in declared.variants
        for seed in seeds[v.name]
        if not store.has(NAME, v, seed)
    ]


class Recordings:
    """The recorded runs of data/lab/, read once."""

    def __init__(self) -> None:
        self.store = Store(shipped.folder() / "lab")
        self._frozen: Run | None = None
        self._per_row: float | None = None  # seconds
        self._learnt = False
        self._band: tuple[Setup | None, list[Run]] = (None, [])

    def find(self, setup: Setup) -> Run | None:
        """The run of a setup, with its micro-batches as the setup cuts them; None where it is not recorded."""
        plain = setup.plain()
        if plain.config.optimizer == "none":
            whole = plain.config.max_steps is None and plain.config.precision == "fp32"
            return self._rearranged(setup) if whole else None
        name, seed = plain.name(), plain.config.seed
        if seed not in self.store.seeds(NAME, name):
            return None
        run = self.store.get(NAME, name, seed).run
        info = {**run.info, "train_config": setup.config.to_dict(), "rearranged": False}
        if setup.config.micro_batch_size == plain.config.micro_batch_size:
            return Run(info, run.records)
        return Run.from_columns(info, run.to_columns())

    def _rearranged(self, setup: Setup) -> Run:
        """What a frozen model sees in this order and batch, from its one recorded pass."""
        if self._frozen is None:
            self._frozen = shipped.recorded_run(f"{MODEL}-frozen")
        config, frozen = setup.config, self._frozen
        columns, n = frozen.to_columns(), len(np.concatenate([r.rows for r in frozen.records]))
        tokens = columns["sample_tokens"]  # recorded in file order
        losses = np.concatenate([r.sample_losses for r in frozen.records])
        order = np.concatenate(
            [make(config.order, n, seed=config.seed, epoch=e) for e in range(config.epochs)]
        )
        sizes = [
            min(config.batch_size, n - start) for start in range(0, n, config.batch_size)
        ] * config.epochs
        means = np.concatenate(
            [
                laws.rebin(losses[part], tokens[part], batch_size=config.batch_size)
                for part in order.reshape(config.epochs, n)
            ]
        )
        probes = {
            p: np.where(np.arange(len(sizes)) % setup.probe_every() == 0, v[0], np.nan)
            for p, v in ((p, frozen.probe(p)[1]) for p in frozen.probe_names())
        }
        per_epoch = config.steps_per_epoch(n)
        columns = {
            "step": np.arange(len(sizes)),
            "epoch": np.arange(len(sizes)) // per_epoch,
            "samples_seen": np.cumsum([0, *sizes[:-1]]),
            "loss": means,
            "tokens": np.add.reduceat(tokens[order], np.cumsum([0, *sizes[:-1]])),
            "lr": np.full(len(sizes), np.nan),
            "grad_norm": np.full(len(sizes), np.nan),
            "row": order,
            "sample_loss": losses[order],
            "sample_tokens": tokens[order],
            "rows_per_step": np.array(sizes),
            **{f"probe/{p}": v for p, v in probes.items()},
        }
        return Run.from_columns(
            {**frozen.info, "train_config": config.to_dict(), "pulse": 1, "rearranged": True},
            columns,
        )

    def seeds(self, setup: Setup) -> list[Run]:
        """The recorded runs of a setup over all its seeds, at least two, else none: what a band is drawn from; the last answer is kept."""
        setup = replace(setup, config=setup.config.replace(seed=0))
        if self._band[0] != setup:
            runs = [
                self.find(replace(setup, config=setup.config.replace(seed=seed)))
                for seed in SEEDS
                if setup.config.order != "file"
            ]
            found = [r for r in runs if r is not None]
            self._band = (setup, found if len(found) > 1 else [])
        return self._band[1]

    def time_a_batch(self, model: LanguageModel, data: EncodedRows) -> None:
        """Measure how long training takes here; the quickest time counts, since whatever else runs only adds to it."""
        rows, seconds = np.arange(TIMED_ROWS), []
        with workers_for(model) as workers:
            for _ in range(3):
                start = time.perf_counter()
                batch_gradient(model, data, rows, TrainConfig(batch_size=TIMED_ROWS), workers)
                seconds.append(time.perf_counter() - start)
        model.zero_grad(set_to_none=True)
        if not self._learnt:
            self._per_row = (
                min([*seconds[1:], (self._per_row or np.inf) * TIMED_ROWS]) / TIMED_ROWS
            )  # the first warms up

    def learn_time(self, records: Sequence[StepRecord]) -> None:
        """Correct the estimate by a run that was trained here, if it is long enough to tell."""
        trained = [
            r.seconds / (len(r.rows) + 2)
            for r in records[1:]
            if not r.probes and np.isfinite(r.grad_norm)
        ]
        if len(trained) >= LEARN:
            self._per_row, self._learnt = float(np.median(trained)), True

    def seconds(self, setup: Setup, n_rows: int, probe_rows: int = 0) -> float | None:
        """About how long it takes to train a setup on `n_rows` conversations, with probes of `probe_rows`; None before `time_a_batch`."""
        if self._per_row is None:
            return None
        config = setup.config
        # Per step, a small batch costs about two conversations more; a look without a way back costs a third.
        trained = (
            (1 + 2 / config.batch_size)
            * n_rows
            * config.epochs
            * (1 / 3 if config.optimizer == "none" else 1)
        )
        return self._per_row * (
            trained + (n_rows * config.epochs / PROBE_ROWS + 2) * probe_rows / 3
        )
