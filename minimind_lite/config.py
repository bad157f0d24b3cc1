"""Every setting of a model and of a training run, as two frozen dataclasses.

A configuration is a value: it can be compared, printed, stored beside the run that it made, and
never changes while the run goes on. What can be derived is a method, so that no third number can
disagree with the first two. Nothing here imports torch.

Letters used by the whole package, in shapes:
    B batch (conversations)   T tokens   C channels (`dim`)   V vocabulary
    H query heads             K key/value heads               D head dimension
    S supervised tokens of a batch                            N conversations in a file
"""

from __future__ import annotations

import dataclasses
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from minimind_lite.order import make as make_order

T = TypeVar("T")

SCHEDULES = ("minimind_2025", "minimind", "constant")
OPTIMIZERS = ("adamw", "sgd", "none")
LOSS_AVERAGES = ("tokens", "micro_batches")
PRECISIONS = ("fp32", "bf16")


def setting(default: T, help: str, *, choices: Sequence[str] = ()) -> T:
    """A field with its sentence and, where only some values exist, these; for the command line."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": tuple(choices)})


class _Config:
    """What both configurations can do."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises `ValueError` for an unknown field."""
        known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
        _require(isinstance(values, Mapping), f"{cls.__name__}: no mapping but {_shown(values)}.")
        unknown = ", ".join(sorted(map(_shown, set(values) - set(known)))[:3])
        _require(not unknown, f"{cls.__name__} has no field {unknown}; it has {', '.join(known)}.")
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def _whole(self, *names: str, least: int = 1, most: int = 2**31 - 1) -> None:
        """Check whole numbers; those of numpy become Python's, and True is none."""
        for name in names:
            value = _plain(getattr(self, name))
            good = type(value) is int and least <= value <= most
            bounds = f"from {least} to {most}"
            _require(good, f"{name} must be a whole number {bounds}, got {_shown(value)}.")
            object.__setattr__(self, name, value)

    def _number(self, *names: str, positive: bool = False) -> None:
        """Check finite numbers, not negative."""
        for name in names:
            value = _plain(getattr(self, name))
            least, where = (5e-324, "above") if positive else (0, "not below")
            good = type(value) in (int, float) and least <= value <= sys.float_info.max
            _require(good, f"{name} must be a finite number {where} 0, got {_shown(value)}.")
            object.__setattr__(self, name, value)

    def _one_of(self, name: str, allowed: Sequence[str]) -> None:
        value, names = getattr(self, name), ", ".join(allowed)
        is_known = isinstance(value, str) and value in allowed
        _require(is_known, f"{name} must be one of {names}, got {_shown(value)}.")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python, anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _shown(value: object) -> str:
    """A value as an error repeats it: on one line, and a part of one that is long."""
    try:
        return " ".join(reprlib.repr(value).split())
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a huge number"


def _pair(name: str, values: object) -> tuple[float, float]:
    """Two numbers in [0, 1), which JSON gives as a list."""
    pair = tuple(map(_plain, values)) if isinstance(values, list | tuple) else ()
    good = len(pair) == 2 and all(type(v) in (int, float) and 0 <= v < 1 for v in pair)
    _require(good, f"{name} must be two numbers in [0, 1), got {_shown(values)}.")
    return pair[0], pair[1]


@dataclass(frozen=True)
class ModelConfig(_Config):
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
        self._whole("vocab_size", "dim", "n_layers", "n_heads", "n_kv_heads")
        self._whole("multiple_of", "max_seq_len")
        self._number("norm_eps", "rope_theta", positive=True)
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
        names = ", ".join(cls.PRESETS)
        _require(name in cls.PRESETS, f"no model preset {_shown(name)}; choose one of {names}.")
        return cls(**cls.PRESETS[name])


@dataclass(frozen=True)
class TrainConfig(_Config):
    """One supervised fine-tuning run, completely.

    A *batch* is what the optimizer sees, a *micro-batch* is what the machine sees, and the
    gradient does not depend on how the first is cut into the second. Raises `ValueError`.
    """

    order: str = setting("file", "file, shuffle_once, shuffle, buffer:K or block:K")
    batch_size: int = setting(16, "conversations per optimizer step")
    micro_batch_size: int | None = setting(None, "rows per forward pass; left out: by token_budget")
    loss_average: str = setting(
        "tokens", "sum / tokens, or MiniMind's mean over micro-batches", choices=LOSS_AVERAGES
    )
    epochs: int = setting(1, "passes over the file")
    max_steps: int | None = setting(None, "stop after so many steps, schedule unchanged")
    optimizer: str = setting("adamw", "none: a frozen model, which only looks", choices=OPTIMIZERS)
    learning_rate: float = setting(5e-4, "schedules start at 1.1 (minimind_2025) or 1 times this")
    schedule: str = setting("minimind_2025", "of the learning rate", choices=SCHEDULES)
    betas: tuple[float, float] = setting((0.9, 0.999), "AdamW: memory of mean and mean square")
    eps: float = setting(1e-8, "AdamW: added to the root of the mean square")
    momentum: float = setting(0.0, "SGD: share of the last step that goes into this one")
    weight_decay: float = setting(0.01, "decoupled (AdamW) or added to the gradient (SGD)")
    grad_clip: float = setting(1.0, "largest gradient norm; 0: no clipping")
    probe_every: int = setting(0, "measure held-out probes every n steps; 0: never")
    seed: int = setting(0, "with the epoch, the only source of randomness")
    token_budget: int = setting(1024, "tokens per forward pass, without micro_batch_size")
    precision: str = setting("fp32", "of matrix products; weights stay fp32", choices=PRECISIONS)

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", _pair("betas", self.betas))
        self._whole("batch_size", "epochs", "token_budget")
        self._whole("probe_every", least=0)
        self._whole("seed", least=0, most=2**63 - 1)
        self._whole(*(n for n in ("micro_batch_size", "max_steps") if getattr(self, n) is not None))
        self._number("learning_rate", "momentum", "weight_decay", "grad_clip")
        self._number("eps", positive=True)
        self._one_of("optimizer", OPTIMIZERS)
        self._one_of("schedule", SCHEDULES)
        self._one_of("loss_average", LOSS_AVERAGES)
        self._one_of("precision", PRECISIONS)
        _require(isinstance(self.order, str), f"order must be text, got {_shown(self.order)}.")
        make_order(self.order, 1)  # refuses an order that does not exist
        _require(
            (self.micro_batch_size or 1) <= self.batch_size,
            f"micro_batch_size must not exceed batch_size ({self.batch_size}), "
            f"got {self.micro_batch_size}: batch_size counts the conversations of one optimizer "
            "step, all micro-batches together.",
        )
        _require(
            self.loss_average == "tokens" or self.micro_batch_size is not None,
            "loss_average='micro_batches' needs a micro_batch_size to average over.",
        )

    def accumulation_steps(self) -> int:
        """Forward passes per optimizer step: ceil(batch_size / micro_batch_size)."""
        return -(-self.batch_size // (self.micro_batch_size or self.batch_size))

    def steps_per_epoch(self, n_rows: int) -> int:
        """Optimizer steps in one pass over `n_rows` conversations; the last may be short."""
        return -(-n_rows // self.batch_size)

    def total_steps(self, n_rows: int) -> int:
        """Optimizer steps of the whole schedule; `max_steps` stops earlier and reshapes nothing."""
        return self.epochs * self.steps_per_epoch(n_rows)
