"""The experiments E1 to E12, declared: question, claims, prediction and variants, all before the results.

What a variant does is in `procedures`, how it is run and kept in `trials`, and what follows from
the records in `claims`. Learning rates of E3 are the best of those tried on the shipped file, which
is no experiment's layout: those under which the Chinese probe fell most. How near that is to Adam's
fall is read off the records, since plain gradient descent does not reach it at any rate tried.
"""

from __future__ import annotations

from collections.abc import Mapping

from minimind_lite.science import laws
from minimind_lite.science.procedures import (
    audit,
    from_scratch,
    one_pass,
    pulse,
    resume,
    rollback,
    sort_keys,
    swap,
)
from minimind_lite.science.trials import Experiment, Variant

LR, BATCH = 5e-4, 16
BATCHES = (
    4,
    64,
)  # E4, beside BATCH; larger ones leave too few trained batches, and are judged frozen
BUFFERS = (64, 256, 1024)  # E5
EXPOSURES = (0, 20)  # E11: conversations of each odd domain in pretraining; the shipped base has 2
PICO = {
    "vocab_size": 2048,
    "dim": 64,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 1,
}  # E12: about a third of nano
SGD_LR = {"sgd": 0.05, "momentum": 0.005, "sign": 3e-4}
PULSE = {"before": 40, "during": 8, "after": 40, "pulse_steps": 4}
ROLLBACK = {"every": 10, "skip": 12, "factor": 40, "pulse_at": 60}
GARBAGE = {"garbage_start": 300, "garbage_rows": 128}  # every layout has its first 500 rows Chinese


def _pass(
    name: str,
    config: Mapping[str, object],
    *,
    cost: float = 1.0,
    quick: bool = True,
    **more: object,
) -> Variant:
    return Variant(name, one_pass, {"config": dict(config), **more}, cost=cost, quick=quick)


def _scaled(batch_size: int, rule: str) -> dict[str, object]:
    """Settings of a batch size under a learning-rate rule (fixed, sqrt, linear), relative to BATCH.

    sqrt is Malladi's rule for Adam in full (arXiv 2205.10287): with k = B'/B, lr sqrt(k), 1 - beta k, eps / sqrt(k).
    It ends at k = 10, where beta1 is 0.
    """
    k, config = batch_size / BATCH, {"batch_size": batch_size}
    if rule == "linear":
        return config | {"learning_rate": LR * k}
    if rule == "sqrt":
        scaled = laws.scaled_adam(LR, (0.9, 0.999), eps=1e-8, k=k)
        return config | {
            "learning_rate": scaled.learning_rate,
            "betas": list(scaled.betas),
            "eps": scaled.eps,
        }
    return config


E1 = Experiment(
    "E1",
    "Is the model's learning what makes the spike?",
    ("C1", "C3", "C5"),
    "A frozen model shows the same spikes; losses of a shuffled run, sorted back into file order, show them again, lower.",
    (
        _pass("file", {}, speak=True, probe=True, cost=1.4),
        _pass("frozen", {"optimizer": "none"}, cost=0.35),
        _pass("shuffled", {"order": "shuffle"}, probe=True, cost=1.15),
    ),
)
E2 = Experiment(
    "E2",
    "Does the spike follow the state of the model, or the rows?",
    ("C3", "R5", "R6", "R9"),
    "Hard batches follow the rows, whatever healthy state meets them; an instability follows the pulse, whatever the rows.",
    (
        Variant("swap", swap, {"batch_size": BATCH}, cost=1.7, quick=False),
        *(
            Variant(
                f"{rows} rows, {'pulse' if factor > 1 else 'no pulse'}",
                pulse,
                PULSE | {"rows": rows, "factor": factor},
                cost=1.0,
                quick=(rows, factor) != ("odd", 40),
            )
            for rows in ("odd", "base")
            for factor in (1, 40)
        ),
    ),
)
E3 = Experiment(
    "E3",
    "Is Adam what makes the recovery quick?",
    ("C3", "C5"),
    "Recovery is the segment ending, so it is the same under every optimiser and under none.",
    tuple(
        _pass(name, config, probe=True, cost=1.15, quick=name == "sgd")
        for name, config in {
            "sgd": {"optimizer": "sgd", "learning_rate": SGD_LR["sgd"]},
            "momentum": {"optimizer": "sgd", "learning_rate": SGD_LR["momentum"], "momentum": 0.9},
            "sign": {
                "betas": [0.0, 0.0],
                "learning_rate": SGD_LR["sign"],
            },  # Adam without memory: the sign of the gradient
            "beta2 0.9": {"betas": [0.9, 0.9]},
            "beta2 0.95": {"betas": [0.9, 0.95]},
            "beta2 0.99": {"betas": [0.9, 0.99]},
            "no clipping": {"grad_clip": 0.0},
        }.items()
    ),
)
E4 = Experiment(
    "E4",
    "Does a large batch make the spike larger?",
    ("C2", "R3", "R7"),
    "Not in nats. It makes the spike easier to see, as sqrt(B) up to about the segment's length; a small batch makes the curve rougher.",
    tuple(
        _pass(
            f"B={b} {rule}", _scaled(b, rule), cost=1.3 if b < BATCH else 1.0, quick=rule == "fixed"
        )
        for b in BATCHES
        for rule in ("fixed", "sqrt", "linear")
    ),
)
E5 = Experiment(
    "E5",
    "How much shuffling is enough?",
    ("R1",),
    "A buffer of K rows flattens a segment of L to 1 - exp(-L/K); blocks keep it; one full shuffle removes it.",
    tuple(
        _pass(order, {"order": order}, quick=order == "buffer:256")
        for order in (*(f"buffer:{k}" for k in BUFFERS), "block:64")
    ),
)
E6 = Experiment(
    "E6",
    "Which property of a conversation explains its loss?",
    ("C1", "C4"),
    "Its domain, more than its length or the share of code in it.",
    (Variant("sort keys", sort_keys, {}, cost=0.3),),
)
E7 = Experiment(
    "E7",
    "Is accumulation the same as a large batch?",
    ("R4",),
    "Yes, if sums are divided by the tokens of the step; the usual mean of means is another loss. It saves activations, nothing else.",
    (
        Variant("audit", audit, {"micro_batch_sizes": [16, 8, 4, 2, 1]}, cost=0.3),
        _pass(
            "mean of means", {"micro_batch_size": 2, "loss_average": "micro_batches"}, quick=False
        ),
    ),
)
E8 = Experiment(
    "E8",
    "Does cleaning help?",
    ("R2", "C7"),
    "Removing a healthy domain un-learns it; removing broken rows is another matter.",
    (
        _pass("clean", {"order": "shuffle"}, rows="clean", cost=0.7),
        _pass("down-weighted", {"order": "shuffle"}, odd_weight=0.25, quick=False),
        _pass("garbage, shuffled", {"order": "shuffle"}, rows="garbage", quick=False, **GARBAGE),
        _pass(
            "garbage removed", {"order": "shuffle"}, rows="garbage removed", quick=False, **GARBAGE
        ),
    ),
)
E9 = Experiment(
    "E9",
    "Does rolling back help?",
    ("R8",),
    "Not against hard rows: a replay brings the spike back, skipping loses rows. Against an instability it does.",
    tuple(
        Variant(
            f"{trouble}, {policy}",
            rollback,
            ROLLBACK | {"trouble": trouble, "policy": policy},
            cost=1.3,
            quick=False,
        )
        for trouble, policies in (
            ("hard rows", ("replay", "skip", "reshuffle")),
            ("pulse", ("nothing", "replay", "skip")),
        )
        for policy in policies
    ),
)
E10 = Experiment(
    "E10",
    "What must a checkpoint keep, and what does a repeated curve say?",
    ("R8", "R5", "R6", "R9"),
    "Without the order, spikes come out of a resume; a curve that repeats by position is made by its data.",
    (
        *(
            Variant(
                f"resume: {kept}",
                resume,
                {"kept": kept},
                cost=1.1,
                quick=kept == "all but the order",
            )
            for kept in ("all", "weights", "all but the order", "another order")
        ),
        *(
            _pass(
                f"2 epochs, {order}",
                {"order": order, "epochs": 2},
                probe=True,
                cost=2.3,
                quick=False,
            )
            for order in ("file", "shuffle_once", "shuffle")
        ),
    ),
)
E11 = Experiment(
    "E11",
    "Foreign, or merely unseen?",
    ("C4",),
    "The height falls with what the base has seen of the domain, though the domain's distance from Chinese stays the same.",
    tuple(
        Variant(
            f"exposure {k}",
            from_scratch,
            {"model": "nano", "exposure": k, "pretrain_lr": 3e-3, "config": {"optimizer": "none"}},
            cost=3.2,
            quick=False,
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
        Variant(
            "pico",
            from_scratch,
            {"model": PICO, "exposure": 2, "pretrain_lr": 4e-3, "config": {}},
            cost=2.2,
            quick=False,
        ),
        _pass("lite", {}, model="lite", cost=2.4, quick=False),
    ),
)

EXPERIMENTS: Mapping[str, Experiment] = {
    e.id: e for e in (E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11, E12)
}
