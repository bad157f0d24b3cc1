"""Every knob of a model and of a training run, as two frozen dataclasses.

A configuration is a value: it can be compared, printed, stored beside the run that it made,
and never changes while the run goes on. What can be derived is a method, so that no third
number can disagree with the first two (`accumulation_steps` follows from `batch_size` and
`micro_batch_size`). Nothing here imports torch.

Letters used by the whole package, in shapes:
    B batch (conversations)   T tokens   C channels (`dim`)   V vocabulary
    H query heads             K key/value heads               D head dimension
    S supervised tokens of a batch                            N conversations in a file
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Scalar = bool | int | float | str | None

SCHEDULES = ("minimind_2025", "minimind", "constant")
OPTIMIZERS = ("adamw", "sgd", "none")
LOSS_AVERAGES = ("tokens", "micro_batches")
PRECISIONS = ("fp32", "bf16")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _from_dict(cls: type, values: Mapping[str, Scalar]):
    _require(
        isinstance(values, Mapping),
        f"{cls.__name__} needs a mapping of its fields, got {values!r}.",
    )
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    _require(
        not unknown,
        f"{cls.__name__} has no field {', '.join(unknown)}; "
        f"known fields: {', '.join(sorted(known))}.",
    )
    return cls(**values)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a MiniMind language model.

    How query heads share key/value heads (`n_heads` = 8, `n_kv_heads` = 8, 2, 1):

        multi-head           grouped-query (MiniMind)   multi-query
        q q q q q q q q      q q q q q q q q            q q q q q q q q
        | | | | | | | |       \\ \\| |/   \\ \\| |/             \\ \\ \\| |/ / /
        k k k k k k k k          k        k                     k

    Defaults are MiniMind2-Small at commit e7ed058 (February 2025): 25,829,888 parameters.
    Raises `ValueError` where two fields contradict each other.
    """

    vocab_size: int = 6400  # V: rows of the embedding, which is also the output head (tied)
    dim: int = 512  # C: width of the residual stream
    n_layers: int = 8  # transformer blocks
    n_heads: int = 8  # H: query heads
    n_kv_heads: int = 2  # K: key/value heads; each serves H / K query heads
    multiple_of: int = 64  # the SwiGLU width is rounded up to a multiple of this
    norm_eps: float = 1e-5  # added to the mean square before the root, in RMSNorm
    rope_theta: float = 1e6  # base of the rotary wavelengths
    max_seq_len: int = 512  # longest sequence that the rotary table covers

    PRESETS: ClassVar[dict[str, dict[str, int]]] = {
        "nano": dict(vocab_size=2048, dim=96, n_layers=3, n_heads=3, n_kv_heads=1),
        "lite": dict(vocab_size=2048, dim=160, n_layers=4, n_heads=5, n_kv_heads=1),
        "minimind2_small": dict(),
    }

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "dim",
            "n_layers",
            "n_heads",
            "n_kv_heads",
            "multiple_of",
            "max_seq_len",
        ):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and value > 0,
                f"{name} must be a positive integer, got {value!r}.",
            )
        _require(
            self.dim % self.n_heads == 0,
            f"dim must be divisible by n_heads, got {self.dim} and {self.n_heads}: "
            f"choose dim = {self.n_heads} x an even head size.",
        )
        _require(
            self.head_dim() % 2 == 0,
            f"dim / n_heads must be even (rotary embedding turns pairs), got {self.head_dim()}.",
        )
        _require(
            self.n_heads % self.n_kv_heads == 0,
            f"n_heads must be divisible by n_kv_heads, got {self.n_heads} and {self.n_kv_heads}.",
        )
        _require(
            all(isinstance(x, int | float) and x > 0 for x in (self.norm_eps, self.rope_theta)),
            "norm_eps and rope_theta must be positive.",
        )

    def head_dim(self) -> int:
        """D = C / H."""
        return self.dim // self.n_heads

    def hidden_dim(self) -> int:
        """Width of the SwiGLU: 2/3 of 4 C, rounded up to a multiple of `multiple_of`.

        Two thirds, because SwiGLU has three matrices where a plain feed-forward has two
        (Shazeer, arXiv 2002.05202, section 2).
        """
        return self.multiple_of * -(-(8 * self.dim // 3) // self.multiple_of)

    def parameters_by_part(self) -> dict[str, int]:
        """Number of parameters of each part, derived from the shape alone."""
        kv_dim = self.n_kv_heads * self.head_dim()
        return {
            "embedding (tied with the head)": self.vocab_size * self.dim,
            "attention": self.n_layers * (2 * self.dim * self.dim + 2 * self.dim * kv_dim),
            "feed-forward": self.n_layers * 3 * self.dim * self.hidden_dim(),
            "norms": (2 * self.n_layers + 1) * self.dim,
        }

    def n_parameters(self) -> int:
        """Number of parameters of the whole model, the tied matrix counted once."""
        return sum(self.parameters_by_part().values())

    @classmethod
    def preset(cls, name: str) -> ModelConfig:
        """`nano` (0.49 M), `lite` (1.43 M) or `minimind2_small` (25.83 M, MiniMind's own)."""
        _require(
            name in cls.PRESETS,
            f"no model preset {name!r}; choose one of {', '.join(cls.PRESETS)}.",
        )
        return cls(**cls.PRESETS[name])

    def to_dict(self) -> dict[str, Scalar]:
        """All fields, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Scalar]) -> ModelConfig:
        """Inverse of `to_dict`; an unknown field raises `ValueError`."""
        return _from_dict(cls, values)


@dataclass(frozen=True)
class TrainConfig:
    """One supervised fine-tuning run, completely.

    A *batch* is what the optimiser sees, a *micro-batch* is what the machine sees, and the
    gradient does not depend on how the first is cut into the second. Raises `ValueError`.
    """

    order: str = "file"  # file | shuffle_once | shuffle | buffer:K | block:K (see `order.make`)
    batch_size: int = 16  # conversations per optimiser step
    micro_batch_size: int | None = (
        None  # conversations per forward pass; None: cut by `token_budget`
    )
    loss_average: str = (
        "tokens"  # tokens: sum / tokens of the step; micro_batches: MiniMind's mean of means
    )
    epochs: int = 1  # passes over the file
    max_steps: int | None = None  # stop after so many optimiser steps, schedule unchanged
    optimizer: str = "adamw"  # adamw | sgd | none (a frozen model: it only looks)
    learning_rate: float = (
        5e-4  # peak of the schedule is 1.1 times this for minimind_2025, 1.0 times for the others
    )
    schedule: str = (
        "minimind_2025"  # minimind_2025 (commit e7ed058) | minimind (since late 2025) | constant
    )
    betas: tuple[float, float] = (0.9, 0.999)  # AdamW: decay of the gradient's mean and mean square
    eps: float = 1e-8  # AdamW: added to the root of the mean square
    momentum: float = 0.0  # SGD
    weight_decay: float = 0.01  # decoupled (AdamW) or added to the gradient (SGD)
    grad_clip: float = 1.0  # largest gradient norm, 0 = no clipping
    probe_every: int = (
        0  # measure the held-out probes every n steps (and before the first); 0 = never
    )
    seed: int = 0  # with the epoch, the only source of randomness
    token_budget: int = 1024  # tokens per forward pass, about, where `micro_batch_size` is None
    precision: str = (
        "fp32"  # of the matrix products: fp32 | bf16 (autocast; weights and optimiser stay fp32)
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON gives a list
        for name in ("batch_size", "epochs", "token_budget"):
            value = getattr(self, name)
            _require(
                isinstance(value, int) and value > 0,
                f"{name} must be a positive integer, got {value!r}.",
            )
        for name in (
            "learning_rate",
            "momentum",
            "weight_decay",
            "grad_clip",
            "probe_every",
            "seed",
        ):
            _require(
                getattr(self, name) >= 0,
                f"{name} must not be negative, got {getattr(self, name)!r}.",
            )
        for name, allowed in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("loss_average", LOSS_AVERAGES),
            ("precision", PRECISIONS),
        ):
            _require(
                getattr(self, name) in allowed,
                f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.",
            )
        _require(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            f"betas must be two numbers in [0, 1), got {self.betas!r}.",
        )
        _require(
            self.max_steps is None or (isinstance(self.max_steps, int) and self.max_steps > 0),
            f"max_steps must be positive, got {self.max_steps!r}.",
        )
        micro = self.micro_batch_size
        _require(
            micro is None or (isinstance(micro, int) and 0 < micro <= self.batch_size),
            f"micro_batch_size must lie in 1 .. batch_size ({self.batch_size}), got {micro!r}: "
            "batch_size counts the conversations of one optimiser step, all micro-batches together.",
        )
        _require(
            self.loss_average == "tokens" or micro is not None,
            "loss_average='micro_batches' needs a micro_batch_size to average over.",
        )

    def accumulation_steps(self) -> int:
        """Forward passes per optimiser step: ceil(batch_size / micro_batch_size)."""
        return -(-self.batch_size // (self.micro_batch_size or self.batch_size))

    def steps_per_epoch(self, n_rows: int) -> int:
        """Optimiser steps in one pass over `n_rows` conversations; the last may be short."""
        return -(-n_rows // self.batch_size)

    def total_steps(self, n_rows: int) -> int:
        """Optimiser steps of the whole schedule (`max_steps` stops earlier, without reshaping it)."""
        return self.epochs * self.steps_per_epoch(n_rows)

    def replace(self, **changes: Scalar) -> TrainConfig:
        """A copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Scalar | list[float]]:
        """All fields, ready for JSON."""
        return {**dataclasses.asdict(self), "betas": list(self.betas)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Scalar]) -> TrainConfig:
        """Inverse of `to_dict`; an unknown field raises `ValueError`."""
        return _from_dict(cls, values)
