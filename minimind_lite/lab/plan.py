"""What a run of the Spike Lab is, how it is trained, and which runs are recorded.

`python data/build.py --lab` records what is missing under data/lab/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.provenance import run_info
from minimind_lite.model import LanguageModel
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.runs.session import TrainingSession
from minimind_lite.science.trials import Experiment, Outcome, SharedData, Variant

ORDERS = ("file", "shuffle_once", "shuffle", "buffer:32", "buffer:128", "buffer:512")
BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256)
ACCUMULATION_STEPS = (1, 2, 4, 8)
LEARNING_RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 5e-2)
PULSES = (1, 10, 40)
SEEDS = (0, 1, 2, 3, 4)
BUFFER_SEEDS = SEEDS[:3]
# Conversations whose batches a pulse covers (whole batches: more where these are larger). In file
# order they are Chinese.
PULSE_ROWS = (960, 1024)
PROBE_ROWS = 320  # conversations between two measurements of the probes, whatever the batch
MODEL = "nano"  # base of every run of the lab
EXPERIMENT = "runs"  # under data/lab/
FROZEN_EXPERIMENT = "frozen"  # its losses of conversations are kept in full precision
DEFAULT = TrainConfig()
LEARNING = (  # fields that touch no loss of a frozen model
    "learning_rate",
    "schedule",
    "betas",
    "eps",
    "momentum",
    "weight_decay",
    "grad_clip",
)


@dataclass(frozen=True)
class RunSpec:
    """What one run of the lab is: its configuration and its pulse.

    The pulse is the lab's true instability: in the batches of the conversations `PULSE_ROWS` the
    learning rate is `pulse` times higher and the gradient is not clipped, while the data stay as
    they are. 1 is no pulse. Raises `ValueError` for less.
    """

    config: TrainConfig = field(default_factory=TrainConfig)
    pulse: int = 1

    def __post_init__(self) -> None:
        if self.pulse < 1:
            raise ValueError(
                f"pulse multiplies the learning rate and is 1 (none) or more, got {self.pulse}."
            )

    def plain(self) -> RunSpec:
        """The plainest spec with the same losses: what a recording is filed under."""
        c = self.config
        plain = c.replace(
            order="shuffle" if c.order == "shuffle_once" and c.epochs == 1 else c.order,
            seed=0 if c.order == "file" else c.seed,
            probe_every=0,
            token_budget=DEFAULT.token_budget,
        )
        one_mean = c.loss_average == "tokens" or c.accumulation_steps() == 1
        if one_mean or c.optimizer == "none":
            plain = plain.replace(micro_batch_size=None, loss_average="tokens")
        if c.optimizer != "none":
            return RunSpec(plain, self.pulse)
        return RunSpec(plain.replace(**{name: getattr(DEFAULT, name) for name in LEARNING}))

    def name(self) -> str:
        """Of its recording: the fields that differ from the defaults, without the seed."""
        default = DEFAULT.to_dict() | {"pulse": 1}
        values = self.config.to_dict() | {"pulse": self.pulse}
        changes = [f"{k}={v}" for k, v in values.items() if v != default[k] and k != "seed"]
        return " ".join(changes) or "default"

    def probe_every(self) -> int:
        """Optimizer steps between two measurements of the probes."""
        return max(1, PROBE_ROWS // self.config.batch_size)

    def with_seed(self, seed: int) -> RunSpec:
        """The same run with another seed."""
        return replace(self, config=self.config.replace(seed=seed))


FROZEN = RunSpec(DEFAULT.replace(optimizer="none")).plain()  # answers for every frozen run


def session_of(
    spec: RunSpec,
    model: LanguageModel,
    *,
    data: EncodedRows,
    probes: Mapping[str, EncodedRows],
) -> TrainingSession:
    """A run of a spec that has not begun."""
    config = spec.config.replace(probe_every=spec.probe_every() if probes else 0)
    return TrainingSession(model, data, config, probes=probes)


def steps(spec: RunSpec, session: TrainingSession) -> Iterator[StepRecord]:
    """Train what is left of a run; a pulse is a part of it at a higher rate."""
    config = session.config
    parts: tuple[tuple[TrainConfig, int | None], ...] = ((config, None),)
    if spec.pulse > 1 and config.optimizer != "none":
        first, last = PULSE_ROWS
        start, stop = first // config.batch_size, -(-last // config.batch_size)
        rate = config.learning_rate * spec.pulse
        pulse = config.replace(learning_rate=rate, grad_clip=0.0)
        parts = ((config, start), (pulse, stop), (config, None))
    for part, end in parts:
        if end is None or end > session.step:
            yield from session.steps(None if end is None else end - session.step, config=part)


def _pass(shared: SharedData, seed: int, settings: Mapping[str, Any]) -> Outcome:
    """One run of data/sft.jsonl from the shipped base, as a trial."""
    spec = RunSpec(TrainConfig.from_dict({**settings["config"], "seed": seed}), settings["pulse"])
    model, data = shipped.base_model(MODEL), shipped.sft_rows(shared.chat)
    session = session_of(spec, model, data=data, probes=shared.probes)
    records = tuple(steps(spec, session))
    after = session.probe_losses()
    more = {"base": MODEL, "rows": len(data), "probes_after": after, "pulse": spec.pulse}
    return Outcome(Run(run_info(model, spec.config, more=more), records))


def _planned() -> Iterator[tuple[RunSpec, tuple[int, ...]]]:
    """What is to be recorded, with its seeds, the most wanted first; some come twice."""

    def spec(pulse: int = 1, **config: Any) -> RunSpec:
        return RunSpec(DEFAULT.replace(**config), pulse).plain()

    both = ("file", "shuffle")
    for order in both:
        for batch_size in BATCH_SIZES:
            yield spec(order=order, batch_size=batch_size), SEEDS
        yield spec(order=order, epochs=3), (0,)
        yield spec(40, order=order), (0,)
    yield spec(order="shuffle_once", epochs=3), (0,)
    for order in ORDERS[3:]:
        for batch_size in BATCH_SIZES:
            yield spec(order=order, batch_size=batch_size), BUFFER_SEEDS
    for order in both:
        for rate in LEARNING_RATES:
            yield spec(order=order, learning_rate=rate), (0,)
        for rate in (5e-4, 5e-2):
            yield spec(order=order, optimizer="sgd", learning_rate=rate), (0,)
        for schedule in ("minimind", "constant"):
            yield spec(order=order, schedule=schedule), (0,)
        yield spec(10, order=order), (0,)
    for order in both:
        for batch_size in (4, 16, 64, 256):
            for parts in [p for p in ACCUMULATION_STEPS if 1 < p <= batch_size]:
                cut: dict[str, Any] = {
                    "micro_batch_size": batch_size // parts,
                    "loss_average": "micro_batches",
                }
                yield spec(order=order, batch_size=batch_size, **cut), (0,)


def plan() -> dict[RunSpec, tuple[int, ...]]:
    """Specs (seed 0 in them) with the seeds to record; file order has one."""
    seeds_of: dict[RunSpec, tuple[int, ...]] = {}
    for spec, seeds in _planned():
        seeds = (0,) if spec.config.order == "file" else seeds
        seeds_of[spec] = max(seeds_of.get(spec, ()), seeds, key=len)
    return seeds_of


def experiments() -> tuple[Experiment, Experiment]:
    """The plan, and the frozen pass, as experiments of the store, which runs nothing twice."""
    variants = tuple(_variant(spec) for spec in plan())
    question = "What does the curve look like with these settings?"
    runs = Experiment(EXPERIMENT, question, (), "", variants)
    frozen = replace(_variant(FROZEN), exact=True)
    question = "What does the base model find hard before any fine-tuning?"
    return runs, Experiment(FROZEN_EXPERIMENT, question, (), "", (frozen,))


def _variant(spec: RunSpec) -> Variant:
    config = {name: value for name, value in spec.config.to_dict().items() if name != "seed"}
    slow = 1.5 if spec.config.batch_size < 16 else 1.0
    settings = {"config": config, "pulse": spec.pulse}
    return Variant(spec.name(), _pass, settings, cost=spec.config.epochs * slow)
