"""The experiments E13 to E18, declared before they ran: what file order does to a model.

E15 has no runs of its own: it compares frozen with trained heights in those of E1, E17 and E18.
Plain gradient descent and momentum learn the Chinese of a layout less than Adam does, at any rate
(best of those tried on a file that is no experiment's layout: -0.05 against -0.13 nats). So each
optimizer runs at three rates, Adam at a lower one as well, and its effects are read beside what it
learnt.
"""

from __future__ import annotations

from collections.abc import Mapping

from minimind_lite.science.dose import dose
from minimind_lite.science.layouts import RESERVED
from minimind_lite.science.procedures import one_pass
from minimind_lite.science.trials import Experiment, Variant

Settings = Mapping[str, object]

OPTIMIZERS: Mapping[str, Settings] = {  # beside Adam at 5e-4
    "adam 1e-4": {"learning_rate": 1e-4},
    **{f"sgd {r:g}": {"optimizer": "sgd", "learning_rate": r} for r in (0.02, 0.05, 0.1)},
    **{
        f"momentum {r:g}": {"optimizer": "sgd", "learning_rate": r, "momentum": 0.9}
        for r in (0.002, 0.005, 0.01)
    },
    **{
        f"sign {r:.0e}".replace("e-0", "e-"): {"betas": [0.0, 0.0], "learning_rate": r}
        for r in (1e-4, 3e-4, 6e-4)
    },
}
FROZEN: Settings = {"optimizer": "none"}
OTHER_BASES = ("nano-1", "nano-2")
FACTORS = (0.25, 0.5, 1, 2, 4)  # E14
DOSE = {"lengths": [32, 64, 128, 256], "before": 40, "after": 12}
# E18: conversations of the main domain that the base has read: 69, 552, 1086
EXPOSURES = {"low": "low", "shipped": "nano", "high": "high"}
LENGTHS = (64, 128, 250, 350)  # of its blocks; the shortest domain has 250


def pass_of(
    name: str,
    config: Settings,
    settings: Settings | None = None,
    *,
    cost: float = 1.0,
    quick: bool = True,
) -> Variant:
    """A pass over a layout; `settings` are those beside the configuration."""
    all_settings = {"config": dict(config), **(settings or {})}
    return Variant(name, one_pass, all_settings, cost=cost, quick=quick)


AROUND: Settings = {"probe_around": True}
E13 = Experiment(
    "E13",
    "What is forgotten while a segment is read?",
    ("C3", "N1", "N2", "N5"),
    "Each segment teaches its own domain and un-teaches others. The nearest domain suffers most: "
    "classical Chinese leaves a dent in Chinese, code and maths leave none.",
    (
        pass_of("file", {}, AROUND, cost=2.2),
        pass_of("shuffled", {"order": "shuffle"}, AROUND, cost=2.2, quick=False),
        *(pass_of(n, config, AROUND, cost=2.2, quick=False) for n, config in OPTIMIZERS.items()),
    ),
)
E14 = Experiment(
    "E14",
    "How do dent and forgetting grow with the dose?",
    ("N1",),
    "Both grow with learning rate times length, and fall with the distance of the segment's "
    "domain from Chinese.",
    tuple(
        Variant(f"rate x{k:g}", dose, {"factor": k, **DOSE}, cost=2.2, quick=False) for k in FACTORS
    ),
)
E16 = Experiment(
    "E16",
    "What can the training curve not show?",
    ("N1",),
    "A tall spike can go with nothing forgotten, and a flat curve with much.",
    tuple(
        pass_of(name, {"probe_every": 8}, {"rows": rows}, cost=1.4, quick=False)
        for name, rows in (
            ("tall spike, no forgetting", "maths late"),
            ("flat curve, forgetting", "English early"),
        )
    ),
)
BLOCKS: Settings = {"family": "blocks"}
E17 = Experiment(
    "E17",
    "What makes the spikes of a file of long blocks?",
    ("C5", "N2", "N6"),
    "A height is unfamiliar + transferred or forgotten + specialized, always. Inside a long block "
    "the excess decays with the optimizer; the first batch does not know the optimizer.",
    (
        pass_of("blocks, file", {}, {**BLOCKS, "probe": True}, cost=1.5),
        pass_of("blocks, frozen", FROZEN, BLOCKS, cost=0.5),
        pass_of("blocks, shuffled", {"order": "shuffle"}, {**BLOCKS, "probe": True}, cost=1.5),
        *(
            pass_of(f"blocks, {order}, {base}", config, {**BLOCKS, "model": base}, quick=False)
            for base in OTHER_BASES
            for order, config in (("file", {}), ("frozen", FROZEN))
        ),
        *(
            pass_of(f"blocks, {name}", config, {**BLOCKS, "probe": True}, cost=1.5, quick=False)
            for name, config in OPTIMIZERS.items()
        ),
    ),
)


def _of_length(exposure: str, length: int, order: str, config: Settings) -> Variant:
    settings = {"model": EXPOSURES[exposure], "length": length, "reserved": RESERVED}
    name, cost = f"{exposure} {length} {order}", 7 * length / 2224
    return pass_of(
        name,
        config,
        {**BLOCKS, **settings},
        cost=round(cost if order == "file" else cost / 3, 1),
        quick=(exposure, length) == ("shipped", 64),
    )


E18 = Experiment(
    "E18",
    "Which term makes the spike, for which base and which blocks?",
    ("N6",),
    "Specialized grows with the blocks' length and falls with the base's exposure to the main "
    "domain; unfamiliar does not know the length.",
    tuple(
        _of_length(exposure, length, order, config)
        for exposure in EXPOSURES
        for length in LENGTHS
        for order, config in (("file", {}), ("frozen", FROZEN))
    ),
)
