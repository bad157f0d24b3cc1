"""What a trial does when it trains: passes, swaps, pulses, rollbacks, small bases.

Each procedure takes the `SharedData`, a seed and its settings (plain values), and returns an
`Outcome`. A seed draws a new layout; it is also the seed of the order. Losses are in nats.

    N conversations of a layout   B conversations of a batch
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.encoding import encode_many
from minimind_lite.model import LanguageModel
from minimind_lite.records import Run
from minimind_lite.rows import EncodedRows
from minimind_lite.runs.rollback import RollbackPolicy, Rule
from minimind_lite.runs.session import MemoryStates, TrainingSession, Wish
from minimind_lite.science import arrangements, bases, layouts
from minimind_lite.science.generation import generate
from minimind_lite.science.layouts import MAX_LEN, OFF_DOMAIN, Layout
from minimind_lite.science.trials import Outcome, SharedData
from minimind_lite.segments import Segment
from minimind_lite.trainer import mean_loss

PROBE_ROWS = 24  # held-out conversations of each domain in a trial
PROBE_EVERY = 320  # conversations between two measurements
CLOSELY_BEFORE, CLOSELY_AFTER = 4, 20  # steps before and after a segment, probed closely
PULSE_STEPS = 4  # of a rollback's pulse
MANY = 10**6  # rollbacks: a trial never gives up
PROMPTS = {
    "zh": "请用一句话介绍一下你自己。",
    "code": "Write a Python function that adds two numbers.",
    "en": "What is the capital of France?",
    "math": "计算：12 + 30 等于多少？",
    "zh_classical": "请用文言文描写春天。",
}

Settings = Mapping[str, Any]


def probes_of(shared: SharedData, rows: int = PROBE_ROWS) -> dict[str, EncodedRows]:
    """The first conversations of each held-out set; of Chinese every third: it has three kinds."""
    return {
        name: data.select(np.arange(len(data))[:: max(1, len(data) // 36)][:rows])
        for name, data in shared.probes.items()
    }


def config_of(settings: Settings, seed: int) -> TrainConfig:
    """The settings' configuration, with the trial's seed.

    With the setting `probe`, probes are measured every PROBE_EVERY conversations.
    """
    config = TrainConfig.from_dict(settings.get("config", {})).replace(seed=seed)
    if not settings.get("probe"):
        return config
    return config.replace(probe_every=max(1, PROBE_EVERY // config.batch_size))


def layout_of(shared: SharedData, seed: int, settings: Settings) -> Layout:
    """The layout that a seed draws; with `family` "blocks", a long-block file.

    Its blocks are cut to `length` rows; `reserved` conversations of each Chinese kind stay out.
    """
    if settings.get("family") != "blocks":
        return shared.layout(seed)
    return layouts.draw_blocks(
        seed,
        pool=shared.pool,
        length=settings.get("length"),
        reserved=int(settings.get("reserved", 0)),
    )


def run_of(
    session: TrainingSession, layout: Layout, *, info: Mapping[str, object] | None = None
) -> Run:
    """What a session recorded, with the layout's ground truth."""
    truth = {"family": layout.family, "segments": [vars(segment) for segment in layout.segments]}
    return session.run(info={**(info or {}), **truth})


def one_pass(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """Train over the layout.

    Settings: those of `layout_of`, `config`, `model`, `probe`, `probe_around` (closely around each
    segment), `off_domain_weight` (of those rows' losses), `speak` (answer prompts around the
    segments), and `rows`: "all", "clean" (none off-domain), "garbage" (some without sense),
    "garbage removed", or an order that no `TrainConfig` has: "maths late", "English early".
    """
    layout, weights = layout_of(shared, seed, settings), None
    chosen = _chosen_rows(layout, settings)
    data = shared.data(layout)
    if settings.get("rows") == "garbage":
        data = scrambled(data, _garbage(layout, settings), seed=seed)
    if "off_domain_weight" in settings:
        weights = np.where(layout.off_domain(), settings["off_domain_weight"], 1.0)[chosen]
    session = TrainingSession(
        bases.base_model(settings.get("model", "nano")),
        data.select(chosen),
        config_of(settings, seed),
        probes=probes_of(shared),
    )
    values: dict[str, object] = {}
    if settings.get("speak"):
        values["texts"] = _speak_around_segments(shared, session, layout)
    elif settings.get("probe_around"):
        probe_around_segments(session, layout)
    else:
        session.advance(row_weights=weights)
    # Rows were numbered within the chosen ones; the layout's numbers join them to its segments.
    session.records = [replace(r, rows=chosen[r.rows]) for r in session.records]
    return Outcome(run_of(session, layout), values)


def _chosen_rows(layout: Layout, settings: Settings) -> np.ndarray:
    kind, rows = settings.get("rows", "all"), np.arange(len(layout))
    if kind == "clean":
        return rows[~layout.off_domain()]
    if kind == "garbage removed":
        return np.setdiff1d(rows, _garbage(layout, settings))
    if kind in arrangements.ARRANGEMENTS:
        return arrangements.ARRANGEMENTS[kind](layout)
    if kind not in ("all", "garbage"):
        raise ValueError(f"no rows {kind!r} of a layout; see one_pass.")
    return rows


def _garbage(layout: Layout, settings: Settings) -> np.ndarray:
    start = int(settings["garbage_start"])
    rows = np.arange(start, start + int(settings["garbage_rows"]))
    assert not layout.off_domain()[rows].any(), "the garbage is to be made of Chinese rows"
    return rows


def scrambled(data: EncodedRows, rows: np.ndarray, *, seed: int) -> EncodedRows:
    """The data with the supervised tokens of some rows in random order: same tokens, no sense."""
    rng, ids = np.random.default_rng([seed, 1]), data.ids.copy()
    for row in rows:
        places = np.arange(data.offsets[row], data.offsets[row + 1])[data.row(row)[1]]
        ids[places] = ids[rng.permutation(places)]
    return EncodedRows(ids, data.mask, data.offsets)


def probe_around_segments(session: TrainingSession, layout: Layout) -> None:
    """Advance to the end; probes are measured every 2 steps around segments, elsewhere every 20.

    "Around" is from CLOSELY_BEFORE steps before a segment to CLOSELY_AFTER steps after its end.
    """
    size = session.config.batch_size
    close = np.zeros(session.total_steps, bool)
    for segment in layout.segments:
        first, stop = segment.start // size, -(-segment.stop // size)
        close[max(0, first - CLOSELY_BEFORE) : stop + CLOSELY_AFTER] = True
    changes = np.flatnonzero(np.diff(close)) + 1
    for start, stop in pairwise([0, *changes.tolist(), len(close)]):
        config = session.config.replace(probe_every=2 if close[start] else 20)
        session.advance(stop - start, config=config)


def _speak_around_segments(
    shared: SharedData, session: TrainingSession, layout: Layout
) -> list[dict[str, object]]:
    """Advance to the end; at the start, around each segment and at the end, answer the prompts."""
    size, texts = session.config.batch_size, []

    def ask(when: str) -> None:
        answers = {name: _answer(shared, session.model, prompt) for name, prompt in PROMPTS.items()}
        texts.append({"when": when, "step": session.step, "answers": answers})

    ask("base model")
    for segment in layout.segments:
        session.advance(segment.start // size - session.step)
        ask(f"before {segment.name} ({len(segment)})")
        session.advance(-(-segment.stop // size) - session.step)
        ask(f"after {segment.name} ({len(segment)})")
    session.advance()
    ask("at the end")
    return texts


def _answer(shared: SharedData, model: LanguageModel, question: str) -> str:
    prompt = shared.chat.prompt([("user", question)])
    return shared.chat.decode(generate(model, prompt, max_new_tokens=40, end_id=shared.chat.end_id))


def swap(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """State x batch: losses of each segment's first batch, and of four Chinese batches after it.

    Under three healthy states: the base, a file-order run just before the segment, and a shuffled
    run after as many steps. Values: segment -> state -> {"off-domain", "base"}, token means.
    """
    layout, size = shared.layout(seed), int(settings["batch_size"])
    data = shared.data(layout)
    losses: dict[str, dict[str, object]] = {segment.label: {} for segment in layout.segments}

    def measure(model: LanguageModel, state: str, segment: Segment) -> None:
        first = np.arange(segment.start, min(segment.start + size, segment.stop))
        after = np.arange(segment.stop, segment.stop + 4 * size)
        losses[segment.label][state] = {
            "off-domain": mean_loss(model, data.select(first)),
            "base": mean_loss(model, data.select(after)),
        }

    for segment in layout.segments:
        measure(shipped.base_model(), "base model", segment)
    for state, order in (("file order", "file"), ("shuffled", "shuffle")):
        config = TrainConfig(order=order, batch_size=size, seed=seed)
        session = TrainingSession(shipped.base_model(), data, config)
        for segment in layout.segments:
            session.advance(segment.start // size - session.step)
            measure(session.model, state, segment)
    return Outcome(values={"swap": losses})


def pulse(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """The positive control, a cell of {these rows, other rows} x {pulse, none}.

    `before` batches of Chinese rows, `during` batches of `rows` ("base", "code", "math", or
    "off-domain": English), `after` batches of Chinese rows. With `factor` > 1, the learning rate is
    that many times higher, and the gradient not clipped, in the first `pulse_steps` steps of the
    middle.
    """
    before, during, steps = (int(settings[name]) for name in ("before", "during", "pulse_steps"))
    layout, config = shared.layout(seed), TrainConfig(schedule="constant", seed=seed)
    rows = _rows_around(layout, settings, batch_size=config.batch_size)
    session = TrainingSession(
        shipped.base_model(), shared.data(layout).select(rows), config, probes=probes_of(shared)
    )
    session.advance(before, config=config.replace(probe_every=before // 2))
    closely = config.replace(probe_every=2)
    session.advance(steps, config=pulsed(closely, float(settings["factor"])))
    session.advance(during - steps, config=closely)
    session.advance(config=config.replace(probe_every=8))
    event = {"event": [before, before + during]}
    return Outcome(
        session.run(info=event | {"rows_kind": settings["rows"], "factor": settings["factor"]})
    )


def pulsed(config: TrainConfig, factor: float) -> TrainConfig:
    """With the learning rate `factor` times higher and no clipping; as it is for a factor of 1."""
    if factor == 1:
        return config
    return config.replace(learning_rate=config.learning_rate * factor, grad_clip=0.0)


def _rows_around(layout: Layout, settings: Settings, *, batch_size: int) -> np.ndarray:
    """The layout's rows of a pulse trial, in training order."""
    before, during, after = (
        batch_size * int(settings[name]) for name in ("before", "during", "after")
    )
    chinese = np.flatnonzero(~layout.off_domain())
    middle = chinese[-during:]
    if settings["rows"] != "base":
        label = "en" if settings["rows"] == "off-domain" else settings["rows"]
        segment = next(s for s in layout.segments if s.label == label)
        middle = np.arange(segment.start, segment.stop)[:during]
    return np.concatenate([chinese[:before], middle, chinese[before : before + after]])


def rollback(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """When the detector calls, go back to the last checkpoint and follow a `policy`.

    `cause`: "hard rows" (file order) or "pulse" (shuffled, the learning rate `factor` times higher
    for four steps; a replay repeats it, "skip" and "reshuffle" do not). `policy`: "nothing" (calls
    are only counted), "replay", "skip" (and `skip` batches after them), "reshuffle"; a state is
    kept every `every` steps. The schedule is that of the whole file, also where rows are skipped.
    The run holds every step, those taken twice as well.
    """
    layout, config = shared.layout(seed), TrainConfig(seed=seed)
    order, pulse_steps = _rollback_order(layout, settings, seed=seed)
    every, kind = int(settings["every"]), settings["policy"]
    then = "replay" if kind == "nothing" else kind
    policy = RollbackPolicy(Rule(then, skip=int(settings["skip"]), quiet=every, at_most=MANY))
    session = TrainingSession(
        shipped.base_model(),
        shared.data(layout).select(order),
        config,
        probes=probes_of(shared),
        states=MemoryStates(),
        every=every,
    )

    def ask(step: int, loss: float) -> Wish | None:
        wish = policy(step, loss)
        return None if kind == "nothing" else wish

    hot, repeats = pulsed(config, float(settings["factor"])), kind in ("nothing", "replay")
    while True:
        pulse_now = session.step in pulse_steps and (repeats or not session.rollbacks)
        if not session.advance(1, config=hot if pulse_now else config, policy=ask):
            break
    session.records = [replace(r, rows=order[r.rows]) for r in session.records]
    rows_read = np.unique(np.concatenate([r.rows for r in session.records]))
    values = {
        "calls": policy.calls,
        "steps_taken": len(session.records),
        "rows_never_read": len(layout) - len(rows_read),
    }
    return Outcome(run_of(session, layout), values)


def _rollback_order(layout: Layout, settings: Settings, *, seed: int) -> tuple[np.ndarray, range]:
    """Rows (N,) in training order, and the steps of the pulse."""
    if settings["cause"] == "hard rows":
        return np.arange(len(layout)), range(0)
    first = int(settings["pulse_at"])
    order = np.random.default_rng([seed, 2]).permutation(len(layout))
    return order, range(first, first + PULSE_STEPS)


def from_scratch(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """Pretrain a base in the trial, then pass over the layout with `config`.

    Pretraining sees `exposure` conversations of each off-domain domain. `model` is a preset's name
    or the fields of a `ModelConfig`.
    """
    layout, size = shared.layout(seed), settings["model"]
    model_config = (
        ModelConfig.preset(size) if isinstance(size, str) else ModelConfig.from_dict(size)
    )
    model = LanguageModel(model_config, seed=seed)
    rows = _pretraining(shared, layout, exposure=int(settings["exposure"]), seed=seed)
    rate = float(settings["pretrain_lr"])
    for _ in bases.pretrain(model, rows, learning_rate=rate, seed=seed):
        pass
    session = TrainingSession(
        model, shared.data(layout), config_of(settings, seed), probes=probes_of(shared)
    )
    session.advance()
    return Outcome(run_of(session, layout))


def _pretraining(shared: SharedData, layout: Layout, *, exposure: int, seed: int) -> EncodedRows:
    """The Chinese of data/pretrain.jsonl and, of each other domain, `exposure` unused ones."""
    chosen = bases.chinese_of_pretraining()
    used, rng = {c.messages for c in layout.conversations}, np.random.default_rng([seed, 4])
    for domain in OFF_DOMAIN:
        unused = [c for c in shared.pool[domain] if c.messages not in used]
        chosen += [unused[i] for i in rng.permutation(len(unused))[:exposure]]
    return encode_many(shared.chat, chosen, max_len=MAX_LEN)
