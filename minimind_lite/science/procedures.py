"""What a trial does: passes over a layout, swaps of state and batch, pulses, rollbacks, resumes, audits.

Each procedure takes the shared `World`, a seed and its settings (plain values), and returns an
`Outcome`. A seed draws a new layout; it is also the seed of the order. Losses are in nats.

    N conversations of a layout   B conversations of a batch
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch

from minimind_lite import spikes
from minimind_lite.chat import EncodedRows
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.conversations import read
from minimind_lite.files import shipped
from minimind_lite.loss import sample_cross_entropy
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import micro_batches, pack
from minimind_lite.science import layouts
from minimind_lite.science.layouts import Layout
from minimind_lite.science.token_stats import count_tokens, js_divergence
from minimind_lite.science.trials import Outcome, World
from minimind_lite.trainer import (
    batch_gradient,
    describe,
    make_optimizer,
    mean_loss,
    sample_losses,
    train,
)

PROBE_ROWS = 24  # held-out conversations of each domain in a trial
PROBE_EVERY = 320  # conversations between two measurements
PRETRAIN_EPOCHS = 10  # of a base model made in a trial, as data/build.py makes the shipped ones
PROMPTS = {
    "zh": "请用一句话介绍一下你自己。",
    "code": "Write a Python function that adds two numbers.",
    "en": "What is the capital of France?",
    "math": "计算：12 + 30 等于多少？",
    "zh_classical": "请用文言文描写春天。",
}


class Session:
    """A training run that can be advanced by steps, saved, restored, and given other rows or another configuration."""

    def __init__(
        self,
        model: LanguageModel,
        data: EncodedRows,
        config: TrainConfig,
        *,
        probes: Mapping[str, EncodedRows] | None = None,
    ) -> None:
        self.model, self.data, self.config, self.probes = model, data, config, probes or {}
        self.optimizer = make_optimizer(model, config)
        self.step, self.records = 0, []

    def advance(
        self,
        steps: int | None = None,
        *,
        config: TrainConfig | None = None,
        row_weights: np.ndarray | None = None,
    ) -> list[StepRecord]:
        """The next `steps` steps, or all that are left; with `config`, under other settings. Returns their records."""
        config = config or self.config
        config = config.replace(max_steps=None if steps is None else self.step + steps)
        new = list(
            train(
                self.model,
                self.data,
                config,
                probes=self.probes,
                row_weights=row_weights,
                optimizer=self.optimizer,
                start_step=self.step,
            )
        )
        self.records += new
        self.step += len(new)
        return new

    def save(self) -> dict:
        """Everything that a later `restore` needs: weights, optimiser, position."""
        return copy.deepcopy(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
            }
        )

    def restore(self, state: dict) -> None:
        """Back to a saved state; records stay, as a log would."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.step = state["step"]

    def run(self, layout: Layout | None = None, **more: object) -> Run:
        """What was recorded, with the ground truth of the layout and the probes as they end."""
        info = describe(self.model, self.config, rows=len(self.data)) | more
        if layout is not None:
            info["segments"] = [vars(s) for s in layout.segments]
        info["probes_after"] = {p: mean_loss(self.model, rows) for p, rows in self.probes.items()}
        return Run(info, tuple(self.records))


def probes_of(world: World, rows: int = PROBE_ROWS) -> dict[str, EncodedRows]:
    """The first conversations of each held-out set (for Chinese, every third, so that its three kinds are in)."""
    return {
        name: data.select(np.arange(len(data))[:: max(1, len(data) // 36)][:rows])
        for name, data in world.probes.items()
    }


def config_of(settings: Mapping[str, object], seed: int) -> TrainConfig:
    """The settings' configuration, with the trial's seed and, if `probe` is set, probes every PROBE_EVERY conversations."""
    config = TrainConfig.from_dict(settings.get("config", {})).replace(seed=seed)
    return config.replace(
        probe_every=max(1, PROBE_EVERY // config.batch_size) if settings.get("probe") else 0
    )


def one_pass(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """Train over the layout. Settings: `config`, `model`, `rows` (see `_rows`), `odd_weight`, `speak`, `probe`."""
    layout, config = world.layout(seed), config_of(settings, seed)
    data, kept, weights = _rows(world.data(layout), layout, settings, seed)
    session = Session(
        shipped.base_model(settings.get("model", "nano")), data, config, probes=probes_of(world)
    )
    if settings.get("speak"):
        values = {"texts": _speak_around_segments(world, session, layout)}
    else:
        session.advance(row_weights=weights)
        values = {}
    # Rows were numbered within what was kept; the layout's numbers join them to its segments.
    session.records = [_renumbered(r, kept) for r in session.records]
    return Outcome(session.run(layout), values)


def _renumbered(record: StepRecord, kept: np.ndarray) -> StepRecord:
    return record if len(kept) == 0 else StepRecord(**(vars(record) | {"rows": kept[record.rows]}))


def _rows(
    data: EncodedRows, layout: Layout, settings: Mapping[str, object], seed: int
) -> tuple[EncodedRows, np.ndarray, np.ndarray | None]:
    """Data, the layout's row numbers of it, and weights. `rows`: all, clean (no odd segment), garbage, garbage removed."""
    kind, odd = settings.get("rows", "all"), layout.odd()
    weights = np.where(odd, settings["odd_weight"], 1.0) if "odd_weight" in settings else None
    if kind == "all":
        return data, np.arange(len(data)), weights
    bad = np.zeros(len(data), bool)
    if kind.startswith("garbage"):
        start = int(settings["garbage_start"])
        bad[start : start + int(settings["garbage_rows"])] = True
        assert not (bad & odd).any(), "the garbage is to be made of Chinese rows"
    if kind == "garbage":
        return scrambled(data, np.flatnonzero(bad), seed), np.arange(len(data)), weights
    kept = np.flatnonzero(~(odd if kind == "clean" else bad))
    return data.select(kept), kept, weights


def scrambled(data: EncodedRows, rows: np.ndarray, seed: int) -> EncodedRows:
    """The data with the supervised tokens of some rows in random order: same tokens, no sense."""
    rng, ids = np.random.default_rng([seed, 1]), data.ids.copy()
    for row in rows:
        places = np.arange(data.offsets[row], data.offsets[row + 1])[data.row(row)[1]]
        ids[places] = ids[rng.permutation(places)]
    return EncodedRows(ids, data.mask, data.offsets)


def _speak_around_segments(world: World, session: Session, layout: Layout) -> list[dict]:
    """Advance to the end; before the first step, before and after each segment and at the end, let the model answer the prompts."""
    size, said = session.config.batch_size, []

    def ask(when: str) -> None:
        answers = {}
        for name, question in PROMPTS.items():
            ids = session.model.generate(
                world.chat.prompt([("user", question)]), 40, end_id=world.chat.end_id
            )
            answers[name] = world.chat.decode(ids)
        said.append({"when": when, "step": session.step, "answers": answers})

    ask("base model")
    for segment in layout.segments:
        session.advance(segment.start // size - session.step)
        ask(f"before {segment.name} ({segment.stop - segment.start})")
        session.advance(-(-segment.stop // size) - session.step)
        ask(f"after {segment.name} ({segment.stop - segment.start})")
    session.advance()
    ask("at the end")
    return said


def swap(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """State x batch: losses of the first batch of each segment and of four Chinese batches after it, under three healthy states.

    States: the base, a file-order run just before the segment, and a shuffled run after as many
    steps. Values: segment name -> state -> {"odd", "base"}, token means.
    """
    layout, size = world.layout(seed), int(settings["batch_size"])
    data, found = world.data(layout), {segment_name(s): {} for s in layout.segments}

    def look(model: LanguageModel, state: str, segment: shipped.Segment) -> None:
        parts = {
            "odd": np.arange(segment.start, min(segment.start + size, segment.stop)),
            "base": np.arange(segment.stop, segment.stop + 4 * size),
        }
        found[segment_name(segment)][state] = {
            name: mean_loss(model, data.select(rows)) for name, rows in parts.items()
        }

    for segment in layout.segments:
        look(shipped.base_model(), "base model", segment)
    for state, order in (("file order", "file"), ("shuffled", "shuffle")):
        session = Session(
            shipped.base_model(), data, TrainConfig(order=order, batch_size=size, seed=seed)
        )
        for segment in layout.segments:
            session.advance(segment.start // size - session.step)
            look(session.model, state, segment)
    return Outcome(values={"swap": found})


def segment_name(segment: shipped.Segment) -> str:
    """Its domain; the tiny English one by a name of its own."""
    return segment.domain if segment.stop - segment.start > 32 else f"{segment.domain}_tiny"


def pulse(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """The positive control, a cell of {these rows, other rows} x {pulse, none}.

    `before` batches of Chinese rows, `during` batches of `rows` ("odd": English, or "base"), `after`
    batches of Chinese rows. With `factor` > 1, the learning rate is that many times higher, and the
    gradient not clipped, in the first `pulse_steps` steps of the middle.
    """
    layout, config = world.layout(seed), TrainConfig(schedule="constant", seed=seed)
    before, during, after, steps = (
        int(settings[k]) for k in ("before", "during", "after", "pulse_steps")
    )
    chinese, size = np.flatnonzero(~layout.odd()), config.batch_size
    segment = next(s for s in layout.segments if segment_name(s) == "en")
    middle = (
        np.arange(segment.start, segment.stop)
        if settings["rows"] == "odd"
        else chinese[-during * size :]
    )
    rows = np.concatenate(
        [
            chinese[: before * size],
            middle[: during * size],
            chinese[before * size : (before + after) * size],
        ]
    )
    session = Session(
        shipped.base_model(), world.data(layout).select(rows), config, probes=probes_of(world)
    )
    session.advance(before, config=config.replace(probe_every=before // 2))
    near = config.replace(probe_every=2)
    hot = near
    if settings["factor"] > 1:
        hot = near.replace(
            learning_rate=config.learning_rate * float(settings["factor"]), grad_clip=0.0
        )
    session.advance(steps, config=hot)
    session.advance(during - steps, config=near)
    session.advance(config=config.replace(probe_every=8))
    return Outcome(
        session.run(
            event=[before, before + during], rows_kind=settings["rows"], factor=settings["factor"]
        )
    )


def rollback(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """When the detector calls, go back to the last checkpoint, then: `policy` nothing, replay, skip (`skip` batches more) or reshuffle.

    `trouble`: "hard rows" (file order) or "pulse" (shuffled, the learning rate `factor` times higher
    for four steps; "replay" repeats it, the others do not). A checkpoint every `every` steps, one
    rollback per call. The run holds every step that was taken, those taken twice as well.
    """
    layout, policy, every = world.layout(seed), settings["policy"], int(settings["every"])
    hard, size, rng = settings["trouble"] == "hard rows", 16, np.random.default_rng([seed, 2])
    order = np.arange(len(layout.rows)) if hard else rng.permutation(len(layout.rows))
    config = TrainConfig(seed=seed)
    hot = set() if hard else set(range(int(settings["pulse_at"]), int(settings["pulse_at"]) + 4))
    burning = config.replace(
        learning_rate=config.learning_rate * float(settings["factor"]), grad_clip=0.0
    )
    data = world.data(layout)
    session = Session(shipped.base_model(), data.select(order), config, probes=probes_of(world))
    # taken: rows of every step; kept: losses of the run as it stands
    state, taken, kept, calls, muted = session.save(), [], [], [], -1
    while session.step * size < len(order):
        if session.step % every == 0 and len(kept) == session.step:
            state = session.save()
        at = session.step
        (record,) = session.advance(1, config=burning if at in hot else config)
        taken.append(order[record.rows])
        kept.append(record.loss)
        if at > muted and any(e.start == at for e in spikes.find(kept)):
            calls.append(at)
            muted = at + every
            if policy != "nothing":
                session.restore(state)
                kept = kept[: session.step]
                order = _other_order(
                    order, session.step * size, (at + 1 + int(settings["skip"])) * size, policy, rng
                )
                session.data = data.select(order)
                hot = hot if policy == "replay" else set()
    session.records = [
        StepRecord(**(vars(r) | {"rows": rows})) for r, rows in zip(session.records, taken)
    ]
    values = {
        "calls": calls,
        "steps_taken": len(taken),
        "rows_never_read": int(len(layout.rows) - len(np.unique(np.concatenate(taken)))),
    }
    return Outcome(session.run(layout), values)


def _other_order(
    order: np.ndarray, start: int, stop: int, policy: str, rng: np.random.Generator
) -> np.ndarray:
    """The rows after a rollback to `start` that was called at `stop`: the same, without start .. stop, or shuffled."""
    if policy == "skip":
        return np.concatenate([order[:start], order[stop:]])
    if policy == "reshuffle":
        return np.concatenate([order[:start], rng.permutation(order[start:])])
    return order


def resume(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """A shuffled run, broken off at half, resumed with `kept`: "all", "weights", "all but the order" or "another order".

    weights: a fresh optimiser, and order and schedule from their start. all but the order: goes on
    in file order, as MiniMind did until 2026-01-18. another order: a new seed, whose first half is skipped.
    """
    layout = world.layout(seed)
    data, config = world.data(layout), TrainConfig(order="shuffle", seed=seed)
    half = config.total_steps(len(data)) // 2
    session = Session(shipped.base_model(), data, config, probes=probes_of(world))
    session.advance(half)
    if settings["kept"] == "weights":
        session.optimizer, session.step = make_optimizer(session.model, config), 0
        records = session.records
        session.records = []
        session.advance()
        session.records = records + [
            StepRecord(**(vars(r) | {"step": r.step + half})) for r in session.records
        ]
    else:
        session.advance(
            config={
                "all": config,
                "all but the order": config.replace(order="file"),
                "another order": config.replace(seed=seed + 1000),
            }[settings["kept"]]
        )
    times = np.bincount(np.concatenate([r.rows for r in session.records]), minlength=len(data))
    return Outcome(
        session.run(layout, resumed_at=half),
        {"read_twice": int((times > 1).sum()), "never_read": int((times == 0).sum())},
    )


def from_scratch(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """Pretrain a base in the trial, with `exposure` conversations of each odd domain, then pass over the layout with `config`.

    `model` is a preset's name or the fields of a `ModelConfig`.
    """
    layout, model = world.layout(seed), settings["model"]
    net = LanguageModel(
        ModelConfig.preset(model) if isinstance(model, str) else ModelConfig.from_dict(model),
        seed=seed,
    )
    encoded = _pretraining(world, layout, int(settings["exposure"]), seed)
    everything = EncodedRows(encoded.ids, np.ones(len(encoded.ids), bool), encoded.offsets)
    plan = TrainConfig(
        order="shuffle",
        epochs=PRETRAIN_EPOCHS,
        learning_rate=float(settings["pretrain_lr"]),
        schedule="minimind",
        seed=seed,
    )
    for _ in train(net, everything, plan):
        pass
    session = Session(net, world.data(layout), config_of(settings, seed), probes=probes_of(world))
    session.advance()
    return Outcome(session.run(layout))


def _pretraining(world: World, layout: Layout, exposure: int, seed: int) -> EncodedRows:
    """The Chinese of data/pretrain.jsonl and `exposure` conversations of each odd domain that the layout does not hold."""
    odd = {
        c.messages for d in layouts.ODD for c in read(shipped.folder() / "corpus" / f"{d}.jsonl")
    }
    chinese = [c for c in read(shipped.folder() / "pretrain.jsonl") if c.messages not in odd]
    rng, held = np.random.default_rng([seed, 4]), {c.messages for c in layout.conversations}
    free = {d: [c for c in world.pool[d] if c.messages not in held] for d in layouts.ODD}
    return world.chat.encode_rows(
        [
            *chinese,
            *(rows[i] for rows in free.values() for i in rng.permutation(len(rows))[:exposure]),
        ]
    )


def audit(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """Accumulation: whether every cut of a batch gives the same gradient, and what memory it needs.

    Values: `gradient_difference` (largest, relative, fp64, over the cuts), `bytes` (weights,
    gradients, optimiser, and `activations` by micro-batch size: tensors that autograd keeps, fp32).
    """
    layout = world.layout(seed)
    data, sizes = world.data(layout), [int(n) for n in settings["micro_batch_sizes"]]
    rows = np.random.default_rng([seed, 3]).permutation(len(data))[: max(sizes)]
    model, gradients = shipped.base_model().double(), []
    with Workers(0) as alone:
        for size in sizes:
            model.zero_grad(set_to_none=True)
            batch_gradient(
                model, data, rows, TrainConfig(batch_size=len(rows), micro_batch_size=size), alone
            )
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    difference = max(
        float((g - gradients[0]).abs().max() / gradients[0].abs().max()) for g in gradients
    )
    weights = sum(p.numel() for p in model.parameters()) * 4
    activations = {
        str(size): _kept_by_autograd(shipped.base_model(), data, rows, size) for size in sizes
    }
    return Outcome(
        values={
            "gradient_difference": difference,
            "bytes": {
                "weights": weights,
                "gradients": weights,
                "optimiser": 2 * weights,
                "activations": activations,
            },
        }
    )


def _kept_by_autograd(model: LanguageModel, data: EncodedRows, rows: np.ndarray, size: int) -> int:
    """Most bytes that one micro-batch of `size` conversations keeps for its backward pass, weights not counted."""
    own, largest = {p.data_ptr() for p in model.parameters()}, 0
    for part in micro_batches(data.lengths(rows), micro_batch_size=size):
        held: dict[int, int] = {}

        def keep(t: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            storage = t.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return t

        ids, mask, lengths = pack(data, rows[part])
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            sums = sample_cross_entropy(
                model.hidden(ids, lengths=lengths), model.head, ids, mask, lengths
            )
        largest = max(largest, sum(held.values()))
        del sums
    return largest


def sort_keys(world: World, seed: int, settings: Mapping[str, object]) -> Outcome:
    """No training: what explains the loss of a conversation under the base model, and how far each segment is from what was seen.

    Values: `explained` (share of the variance of per-conversation losses that each key explains, in
    ten equal groups of it or by its own groups), `divergence` (Jensen-Shannon, bits, of a segment's
    supervised tokens from those of the Chinese rows). The losses are the run: one record of N rows.
    """
    layout = world.layout(seed)
    data, model = world.data(layout), shipped.base_model()
    losses, counts = sample_losses(model, data)
    texts = [
        "".join(content for role, content in c.messages if role == "assistant")
        for c in layout.conversations
    ]
    share = lambda test: np.array([np.mean([test(c) for c in text]) for text in texts])
    domains = np.where(layout.odd(), layout.domains, "zh")
    keys = {
        "domain": np.unique(domains, return_inverse=True)[1],
        "language (share of Chinese characters)": share(lambda c: "\u4e00" <= c <= "\u9fff"),
        "code share (brackets, operators)": share(lambda c: c in "{}[]()=<>_;#+*/\\"),
        "answer length": counts,
        "rounds": np.array([len(c.messages) for c in layout.conversations]),
    }
    tokens = lambda rows: count_tokens(data, world.chat.vocab_size, rows)
    seen = tokens(np.flatnonzero(~layout.odd()))
    divergence = {
        segment_name(s): js_divergence(tokens(np.arange(s.start, s.stop)), seen)
        for s in layout.segments
    }
    record = StepRecord(
        step=0,
        epoch=0,
        samples_seen=0,
        loss=float((losses * counts).sum() / counts.sum()),
        tokens=int(counts.sum()),
        lr=0.0,
        grad_norm=float("nan"),
        micro_losses=np.array([]),
        rows=np.arange(len(data)),
        sample_losses=losses,
        sample_tokens=counts,
        seconds=0.0,
    )
    info = describe(model, TrainConfig(optimizer="none", batch_size=len(data))) | {
        "segments": [vars(s) for s in layout.segments]
    }
    return Outcome(
        Run(info, (record,)),
        {"explained": {k: explained(losses, v) for k, v in keys.items()}, "divergence": divergence},
    )


def explained(values: np.ndarray, key: np.ndarray, *, groups: int = 10) -> float:
    """Share of the variance of values (N,) between groups of a key (N,): its own values if few, else `groups` quantiles (eta squared)."""
    if len(np.unique(key)) > groups:
        key = np.searchsorted(
            np.quantile(key, np.linspace(0, 1, groups + 1)[1:-1]), key, side="right"
        )
    within = sum(((values[key == k] - values[key == k].mean()) ** 2).sum() for k in np.unique(key))
    return float(1 - within / ((values - values.mean()) ** 2).sum())
