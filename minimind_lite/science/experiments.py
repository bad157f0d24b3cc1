"""The experiments, declared: question, claims, prediction and variants, before results.

E1 to E12 and E19 are here, E13 to E18 in `harm_experiments`.

What a variant does is in `procedures` and `measurements`, how it is run in `runner`, and what
follows from the records in `claims`. Learning rates of E3 are the best of those tried on the
shipped file, which is no experiment's layout: those under which held-out Chinese fell most. How
near that is to Adam's fall is read off the records, since plain gradient descent does not reach it
at any rate tried.
"""

from __future__ import annotations

from collections.abc import Mapping

from minimind_lite.science import laws
from minimind_lite.science.harm_experiments import (
    E13,
    E14,
    E16,
    E17,
    E18,
    FROZEN,
    OTHER_BASES,
    pass_of,
)
from minimind_lite.science.measurements import audit, sort_keys
from minimind_lite.science.procedures import from_scratch, pulse, rollback, swap
from minimind_lite.science.resuming import resume, resume_from
from minimind_lite.science.trials import Experiment, Variant

LEARNING_RATE, BATCH_SIZE = 5e-4, 16
BATCH_SIZES = (4, 64)  # E4, beside BATCH_SIZE; larger ones leave too few trained batches
BUFFERS = (64, 256, 1024)  # E5
EXPOSURES = (0, 20)  # E11: pretraining conversations of each domain; the shipped base has 2
PICO = {  # E12: about a third of nano
    "vocab_size": 2048,
    "dim": 64,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 1,
}
OPTIMIZERS: Mapping[str, Mapping[str, object]] = {  # E3, beside Adam as it is
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "momentum": {"optimizer": "sgd", "learning_rate": 0.005, "momentum": 0.9},
    "sign": {"betas": [0.0, 0.0], "learning_rate": 3e-4},  # Adam without memory
    "beta2 0.9": {"betas": [0.9, 0.9]},
    "beta2 0.95": {"betas": [0.9, 0.95]},
    "beta2 0.99": {"betas": [0.9, 0.99]},
    "no clipping": {"grad_clip": 0.0},
}
PULSE = {"before": 40, "during": 8, "after": 40, "pulse_steps": 4}
ROLLBACK = {"every": 10, "skip": 12, "factor": 40, "pulse_at": 60}
GARBAGE = {"garbage_start": 300, "garbage_rows": 128}  # the first 500 rows are Chinese


def _scaled(batch_size: int, rule: str) -> dict[str, object]:
    """Settings of a batch size under a learning-rate rule (fixed, sqrt, linear).

    sqrt is Malladi's rule for Adam in full (arXiv 2205.10287): with k = B'/B, √k lr, 1 - beta times
    k, eps / √k. It ends at k = 10, where beta1 is 0.
    """
    k = batch_size / BATCH_SIZE
    if rule == "linear":
        return {"batch_size": batch_size, "learning_rate": LEARNING_RATE * k}
    if rule == "fixed":
        return {"batch_size": batch_size}
    scaled = laws.scaled_adam(LEARNING_RATE, (0.9, 0.999), eps=1e-8, k=k)
    return {
        "batch_size": batch_size,
        "learning_rate": scaled.learning_rate,
        "betas": list(scaled.betas),
        "eps": scaled.eps,
    }


E1 = Experiment(
    "E1",
    "Is the model's learning what makes the spike?",
    ("C1", "C2", "C3", "C5", "R1", "R3", "R9", "N1", "N2", "N6"),
    "A frozen model shows the same spikes; losses of a shuffled run, sorted back into file order, "
    "show them again, lower.",
    (
        pass_of("file", {}, {"speak": True, "probe": True}, cost=1.4),
        pass_of("frozen", {"optimizer": "none"}, cost=0.35),
        pass_of("shuffled", {"order": "shuffle"}, {"probe": True}, cost=1.15),
        *(
            pass_of(
                f"{order}, {base}",
                config,
                {"model": base} if config is FROZEN else {"model": base, "probe": True},
                cost=1.15,
                quick=False,
            )
            for base in OTHER_BASES
            for order, config in (
                ("file", {}),
                ("frozen", FROZEN),
                ("shuffled", {"order": "shuffle"}),
            )
        ),
    ),
)


def _pulse_cell(rows: str, factor: int, **more: object) -> Variant:
    name = {"off-domain": "off-domain", "base": "base", "code": "code", "math": "maths"}[rows]
    return Variant(
        f"{name} rows, {'pulse' if factor > 1 else 'no pulse'}",
        pulse,
        PULSE | {"rows": rows, "factor": factor} | more,
        quick=rows == "base" or (rows, factor) == ("off-domain", 1),
    )


E2 = Experiment(
    "E2",
    "Does the spike follow the state of the model, or the rows?",
    ("C3", "R5", "R6", "R9", "N5"),
    "Hard batches follow the rows, whatever healthy state meets them; an instability follows the "
    "pulse, whatever the rows.",
    (
        Variant("swap", swap, {"batch_size": BATCH_SIZE}, cost=1.7, quick=False),
        *(_pulse_cell(rows, factor) for rows in ("off-domain", "base") for factor in (1, 40)),
        # A segment of code is 64 rows: four batches.
        *(_pulse_cell("code", factor, during=4) for factor in (1, 40)),
        *(_pulse_cell("math", factor) for factor in (1, 40)),
    ),
)
E3 = Experiment(
    "E3",
    "Is Adam what makes the recovery quick?",
    ("C3", "C5"),
    "Recovery is the segment ending, so it is the same under every optimizer and under none.",
    tuple(
        pass_of(name, config, {"probe": True}, cost=1.15, quick=name == "sgd")
        for name, config in OPTIMIZERS.items()
    ),
)
E4 = Experiment(
    "E4",
    "Does a large batch make the spike larger?",
    ("C2", "R3", "R7", "N4"),
    "Not in nats. It makes the spike easier to see, as sqrt(B) up to about the segment's length; a "
    "small batch makes the curve rougher.",
    tuple(
        pass_of(
            f"B={batch_size} {rule}",
            _scaled(batch_size, rule),
            cost=1.3 if batch_size < BATCH_SIZE else 1.0,
            quick=rule == "fixed",
        )
        for batch_size in BATCH_SIZES
        for rule in ("fixed", "sqrt", "linear")
    ),
)
E5 = Experiment(
    "E5",
    "How much shuffling is enough?",
    ("R1",),
    "A buffer of K rows flattens a segment of L to 1 - exp(-L/K); blocks keep it; one full shuffle "
    "removes it.",
    tuple(
        pass_of(order, {"order": order}, quick=order == "buffer:256")
        for order in (*(f"buffer:{k}" for k in BUFFERS), "block:64")
    ),
)
E6 = Experiment(
    "E6",
    "Which property of a conversation explains its loss?",
    ("C1", "C4", "N3"),
    "Its domain, more than its length or the share of code in it.",
    (Variant("sort keys", sort_keys, {}, cost=0.3),),
)
E7 = Experiment(
    "E7",
    "Is accumulation the same as a large batch?",
    ("R4",),
    "Yes, if sums are divided by the tokens of the step; the usual mean of means is another loss. "
    "It saves activations, nothing else.",
    (
        Variant("audit", audit, {"micro_batch_sizes": [16, 8, 4, 2, 1]}, cost=0.3),
        pass_of(
            "mean of means", {"micro_batch_size": 2, "loss_average": "micro_batches"}, quick=False
        ),
    ),
)


def _cleaned(
    name: str, settings: Mapping[str, object], *, cost: float = 1.0, quick: bool = False
) -> Variant:
    return pass_of(name, {"order": "shuffle"}, settings, cost=cost, quick=quick)


E8 = Experiment(
    "E8",
    "Does cleaning help?",
    ("R2", "C7"),
    "Removing a healthy domain un-learns it; removing broken rows is another matter.",
    (
        _cleaned("clean", {"rows": "clean"}, cost=0.7, quick=True),
        _cleaned("down-weighted", {"off_domain_weight": 0.25}),
        _cleaned("garbage, shuffled", {"rows": "garbage", **GARBAGE}),
        _cleaned("garbage removed", {"rows": "garbage removed", **GARBAGE}),
    ),
)


def _rollback(cause: str, policy: str) -> Variant:
    settings = ROLLBACK | {"cause": cause, "policy": policy}
    return Variant(f"{cause}, {policy}", rollback, settings, cost=1.3, quick=False)


E9 = Experiment(
    "E9",
    "Does rolling back help?",
    ("R8",),
    "Not against hard rows: a replay brings the spike back, skipping loses rows. Against an "
    "instability it does.",
    (
        *(_rollback("hard rows", policy) for policy in ("replay", "skip", "reshuffle")),
        *(_rollback("pulse", policy) for policy in ("nothing", "replay", "skip")),
    ),
)


def _resume(restores: str) -> Variant:
    name, quick = f"resume: {restores}", restores == "all but the order"
    return Variant(name, resume, {"restores": restores}, cost=1.1, quick=quick)


def _two_epochs(order: str) -> Variant:
    config = {"order": order, "epochs": 2}
    return pass_of(f"2 epochs, {order}", config, {"probe": True}, cost=2.3, quick=False)


E10 = Experiment(
    "E10",
    "What must a checkpoint keep, and what does a repeated curve say?",
    ("R8", "R5", "R6", "R9"),
    "Without the order, spikes come out of a resume; a curve that repeats by position is made by "
    "its data.",
    (
        *(_resume(what) for what in ("all", "weights", "all but the order", "another order")),
        *(_two_epochs(order) for order in ("file", "shuffle_once", "shuffle")),
    ),
)

EXACT = {  # E19: a checkpoint that keeps everything
    "break_at": 0.45,
    "broken_off": True,
    "weights": "all",
    "moments": "all",
    "step": True,
    "order": "goes on",
}
LOSSES: Mapping[str, Mapping[str, object]] = {  # E19: what does not come back
    "uninterrupted": {"broken_off": False},
    "exact": {},
    "half-precision weights": {"weights": "half"},
    "no optimizer state": {"moments": "none"},
    "half-precision moments": {"moments": "half"},
    "weights only": {"moments": "none", "step": False},
    "order restarted": {"order": "again"},
    "file order": {"order": "file"},
    "another shuffle": {"order": "another"},
}
E19 = Experiment(
    "E19",
    "Which losses of a checkpoint show in the curve, and which cost something?",
    ("R8",),
    "All against the uninterrupted run of the same layout. Exact: every bit is the same. No jump "
    "above 0.1 nats over the first 10 steps: half-precision weights, no optimizer state, weights "
    "only, another shuffle. Order restarted: the loss falls, since its rows were read before. File "
    "order: a step 0.5 nats taller, while held-out losses rise by less than 0.1 in 10 steps. Only "
    "half-precision moments hurt the model, by more than 1 nat. At the end, off-domain held-out "
    "loss is higher by 0.05 nats or more after file order and after order restarted, and by less "
    "after another shuffle, which loses as many rows as file order. Rows read twice and never "
    "follow f (1 - f) N in both. So 1.5 -> 3.7 is hard rows, or moments that came back wrong; it "
    "is not moments that are missing.",
    tuple(
        Variant(name, resume_from, {**EXACT, **lost}, cost=1.5, quick=False)
        for name, lost in LOSSES.items()
    ),
)


def _small_base(
    name: str,
    model: object,
    *,
    exposure: int,
    rate: float,
    config: object,
    cost: float,
    probe: bool = False,
) -> Variant:
    settings = {"model": model, "exposure": exposure, "pretrain_lr": rate, "config": config}
    if probe:
        settings["probe"] = True
    return Variant(name, from_scratch, settings, cost=cost, quick=False)


E11 = Experiment(
    "E11",
    "Foreign, or merely unseen?",
    ("C4", "N3"),
    "The height falls with what the base has seen of the domain, though the domain's distance from "
    "Chinese stays the same.",
    tuple(
        _small_base(
            f"exposure {k}",
            "nano",
            exposure=k,
            rate=3e-3,
            config={"optimizer": "none"},
            cost=3.2,
        )
        for k in EXPOSURES
    ),
)
E12 = Experiment(
    "E12",
    "Does the size of the model matter?",
    ("C6", "C7"),
    "Hardly: height and recovery depend weakly on size.",
    (
        _small_base(
            "pico, shuffled",
            PICO,
            exposure=2,
            rate=4e-3,
            config={"order": "shuffle"},
            cost=2.2,
            probe=True,
        ),
        pass_of(
            "lite, shuffled",
            {"order": "shuffle"},
            {"model": "lite", "probe": True},
            cost=2.6,
            quick=False,
        ),
        _small_base("pico", PICO, exposure=2, rate=4e-3, config={}, cost=2.2),
        pass_of("lite", {}, {"model": "lite"}, cost=2.4, quick=False),
    ),
)

EXPERIMENTS: Mapping[str, Experiment] = {
    e.id: e
    for e in (
        *(E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11, E12),
        *(E13, E14, E16, E17, E18, E19),
    )
}
