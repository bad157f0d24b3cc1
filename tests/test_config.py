"""A configuration is a value: it refuses contradictions, derives the rest, and survives JSON."""

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.cli import parser
from minimind_lite.config import LOSS_AVERAGES, OPTIMIZERS, SCHEDULES, ModelConfig, TrainConfig
from minimind_lite.files.visible import visible
from minimind_lite.parallel import worker_count

FEW = settings(max_examples=50, deadline=None)
non_negative = st.floats(0, 1e3)


@st.composite
def model_configs(draw):
    n_kv_heads, group, half_head = (draw(st.integers(1, 6)) for _ in range(3))
    n_heads = n_kv_heads * group
    return ModelConfig(
        vocab_size=draw(st.integers(1, 9999)),
        dim=n_heads * 2 * half_head,
        n_layers=draw(st.integers(1, 12)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        multiple_of=draw(st.integers(1, 256)),
        norm_eps=draw(st.floats(1e-12, 1)),
        rope_theta=draw(st.floats(1, 1e9)),
        max_seq_len=draw(st.integers(1, 9999)),
    )


@st.composite
def train_configs(draw):
    batch_size = draw(st.integers(1, 512))
    micro = draw(st.none() | st.integers(1, batch_size))
    return TrainConfig(
        order=draw(st.sampled_from(["file", "shuffle", "buffer:64"])),
        batch_size=batch_size,
        micro_batch_size=micro,
        loss_average=draw(st.sampled_from(LOSS_AVERAGES)) if micro else "tokens",
        epochs=draw(st.integers(1, 9)),
        max_steps=draw(st.none() | st.integers(1, 10**6)),
        optimizer=draw(st.sampled_from(OPTIMIZERS)),
        learning_rate=draw(non_negative),
        schedule=draw(st.sampled_from(SCHEDULES)),
        betas=(draw(st.floats(0, 0.999)), draw(st.floats(0, 0.9999))),
        eps=draw(st.floats(1e-12, 1)),
        momentum=draw(non_negative),
        weight_decay=draw(non_negative),
        grad_clip=draw(non_negative),
        probe_every=draw(st.integers(0, 99)),
        seed=draw(st.integers(0, 2**31)),
        token_budget=draw(st.integers(1, 9999)),
    )


@FEW
@given(model_configs() | train_configs())
def test_json_gives_back_the_same_value(config):
    # Equality of every field, bit by bit: a run's record must say what was really run.
    assert type(config).from_dict(config.to_dict()) == config
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
def test_an_unknown_field_is_named_and_the_known_ones_are_listed(cls):
    with pytest.raises(
        ValueError, match=f"{cls.__name__} has no field 'batchsize', 'zeta'; it has .*"
    ) as error:
        cls.from_dict({"zeta": 1, "batchsize": 8})
    assert all(f.name in str(error.value) for f in dataclasses.fields(cls))


def test_missing_fields_take_their_defaults():
    assert TrainConfig.from_dict({"batch_size": 8}) == TrainConfig(batch_size=8)


@pytest.mark.parametrize("config", [ModelConfig(), TrainConfig()])
def test_a_config_never_changes(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, 1)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(vocab_size=0), "vocab_size must be a whole number from 1 to 2147483647, got 0"),
        (dict(n_layers=-1), "n_layers must be a whole number from 1 to 2147483647, got -1"),
        (dict(dim=512.0), r"dim must be a whole number from 1 to \d+, got 512\.0"),
        (
            dict(max_seq_len="512"),
            "max_seq_len must be a whole number from 1 to 2147483647, got '512'",
        ),
        (
            dict(dim=100, n_heads=8),
            "dim must be divisible by n_heads, got 100 and 8: choose dim = 8 x an even head size",
        ),
        (
            dict(dim=24, n_heads=8),
            r"dim / n_heads must be even \(rotary embedding turns pairs\), got 3",
        ),
        (dict(n_heads=8, n_kv_heads=3), "n_heads must be divisible by n_kv_heads, got 8 and 3"),
        (dict(norm_eps=0.0), "norm_eps must be a finite number above 0, got 0.0"),
        (dict(rope_theta=-1.0), "rope_theta must be a finite number above 0, got -1.0"),
        (dict(norm_eps=float("nan")), "norm_eps must be a finite number above 0, got nan"),
    ],
)
def test_a_contradictory_model_says_what_is_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(batch_size=0), "batch_size must be a whole number from 1 to 2147483647, got 0"),
        (dict(epochs=1.5), r"epochs must be a whole number from 1 to \d+, got 1\.5"),
        (dict(token_budget=-1), "token_budget must be a whole number from 1 to 2147483647, got -1"),
        (
            dict(learning_rate=-1e-4),
            "learning_rate must be a finite number not below 0, got -0.0001",
        ),
        (
            dict(learning_rate=float("nan")),
            "learning_rate must be a finite number not below 0, got nan",
        ),
        (dict(grad_clip=-1.0), "grad_clip must be a finite number not below 0"),
        (dict(batch_size=True), "batch_size must be a whole number .*, got True"),
        (dict(batch_size=10**20), "batch_size must be a whole number from 1 to 2147483647"),
        (dict(learning_rate=None), "learning_rate must be a finite number not below 0, got None"),
        (dict(learning_rate=float("inf")), "learning_rate must be a finite number .*, got inf"),
        (dict(eps=-1), "eps must be a finite number above 0, got -1"),
        (dict(betas=None), r"betas must be two numbers in \[0, 1\), got None"),
        (dict(order="alphabetical"), "no order 'alphabetical'"),
        (dict(seed=-1), "seed must be a whole number from 0 to 9223372036854775807, got -1"),
        (dict(optimizer="adam"), "optimizer must be one of adamw, sgd, none, got 'adam'"),
        (
            dict(schedule="cosine"),
            "schedule must be one of minimind_2025, minimind, constant, got 'cosine'",
        ),
        (
            dict(loss_average="rows"),
            "loss_average must be one of tokens, micro_batches, got 'rows'",
        ),
        (dict(betas=(0.9,)), r"betas must be two numbers in \[0, 1\), got \(0\.9,\)"),
        (dict(betas=(0.9, 1.0)), r"betas must be two numbers in \[0, 1\)"),
        (dict(max_steps=0), "max_steps must be a whole number from 1 to 2147483647, got 0"),
        (
            dict(micro_batch_size=0),
            r"micro_batch_size must be a whole number from 1 to 2147483647, got 0",
        ),
        (
            dict(micro_batch_size=17),
            "got 17: batch_size counts the conversations of one optimizer step, all micro-batches",
        ),
        (dict(micro_batch_size=2.5), "micro_batch_size"),  # half a conversation fits no batch
        (
            dict(max_steps=2.5),
            "max_steps",
        ),  # a float never equals a step number, so it would never stop the run
        (
            dict(loss_average="micro_batches"),
            "loss_average='micro_batches' needs a micro_batch_size to average over",
        ),
    ],
)
def test_a_contradictory_run_says_what_is_wrong(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**fields)


@pytest.mark.parametrize(
    "batch_size, micro_batch_size, expected",
    [(16, None, 1), (16, 16, 1), (16, 8, 2), (16, 5, 4), (16, 1, 16), (1, 1, 1), (7, 4, 2)],
)
def test_accumulation_steps_by_hand(batch_size, micro_batch_size, expected):
    assert (
        TrainConfig(batch_size=batch_size, micro_batch_size=micro_batch_size).accumulation_steps()
        == expected
    )


@FEW
@given(st.integers(1, 999), st.integers(1, 999))
def test_accumulation_steps_is_the_fewest_micro_batches_that_hold_the_batch(batch_size, micro):
    micro = min(micro, batch_size)
    steps = TrainConfig(batch_size=batch_size, micro_batch_size=micro).accumulation_steps()
    assert (steps - 1) * micro < batch_size <= steps * micro


def test_steps_of_a_run_by_hand():
    config = TrainConfig(batch_size=4, epochs=3, max_steps=2)
    assert [config.steps_per_epoch(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert config.total_steps(5) == 6  # max_steps stops the run, it does not reshape the schedule


def test_replace_changes_one_field_and_checks_again():
    config = TrainConfig()
    assert config.replace(seed=3) == TrainConfig(seed=3) and config.seed == 0
    with pytest.raises(ValueError, match="micro_batch_size"):
        config.replace(micro_batch_size=99)


def test_size_of_minimind2_small():
    # By hand: tied embedding 6400 x 512; a layer has q, o (512 x 512), k, v (512 x 128), three of
    # 512 x 1408, two norms.
    layer = 2 * 512 * 512 + 2 * 512 * 128 + 3 * 512 * 1408 + 2 * 512
    assert 6400 * 512 + 8 * layer + 512 == 25_829_888
    assert (
        ModelConfig.preset("minimind2_small").n_parameters()
        == ModelConfig().n_parameters()
        == 25_829_888
    )


@pytest.mark.parametrize("name, low, high", [("nano", 0.45e6, 0.55e6), ("lite", 1.3e6, 1.6e6)])
def test_sizes_of_the_small_presets(name, low, high):
    assert low < ModelConfig.preset(name).n_parameters() < high


def test_an_unknown_preset_is_told_the_known_ones():
    with pytest.raises(
        ValueError, match="no model preset 'huge'; choose one of nano, lite, minimind2_small"
    ):
        ModelConfig.preset("huge")


@FEW
@given(model_configs())
def test_feed_forward_width_is_the_next_multiple(config):
    width = config.hidden_dim()
    assert width % config.multiple_of == 0
    assert width - config.multiple_of < 8 * config.dim // 3 <= width


def test_configuration_needs_no_torch():
    # A recorded run must be readable, and its settings printable, before torch is loaded.
    code = "import sys, minimind_lite.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("number", [np.int64(16), np.uint8(16), np.array(16)])
def test_whole_numbers_of_numpy_are_whole_numbers(number):
    """What comes out of an array in a notebook is as good as what was typed."""
    config = TrainConfig(batch_size=number)
    assert config == TrainConfig(batch_size=16) and type(config.batch_size) is int
    assert json.dumps(config.to_dict())


def test_every_setting_of_a_run_has_its_sentence():
    for field in dataclasses.fields(TrainConfig):
        text = field.metadata["help"]
        assert text and not text.endswith(".") and "%" not in text, field.name
        assert all(isinstance(choice, str) for choice in field.metadata["choices"])


# Hostile values

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**4000), 2**63, float("nan"), float("inf"), -float("inf")])
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["x" * 10_000, "file\n", "buffer:", "buffer:" + "9" * 5_000, "block:²"])
    | st.sampled_from([*OPTIMIZERS, *SCHEDULES, *LOSS_AVERAGES, "shuffle", "buffer:8", "bf16"])
    | st.sampled_from(
        [np.float32(0.5), np.float64("nan"), np.int8(3), np.bool_(True), np.longdouble(0.5)]
    )
    | st.sampled_from([np.array(0.5), np.array([1, 2]), np.array([[1]] * 9), Fraction(1, 3), b"1"])
)
hostile = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_makes_a_whole_configuration_or_an_error_that_names_its_field(cls, data):
    names = [f.name for f in dataclasses.fields(cls)]
    values = data.draw(st.dictionaries(st.sampled_from(names), hostile, min_size=1, max_size=3))
    for make in (lambda: cls(**values), lambda: cls.from_dict(values)):
        try:
            config = make()
        except ValueError as error:
            text = str(error)
            assert any(name in text for name in values), text
            assert len(text) < 300 and len(text.splitlines()) == 1, text
            assert visible(text) == text
        else:
            again = cls.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False)))
            assert again == config


@FEW
@given(hostile | st.dictionaries(st.text(max_size=40) | st.integers(), hostile, max_size=9))
def test_what_is_no_mapping_of_fields_is_refused_in_one_line(values):
    try:
        assert TrainConfig.from_dict(values) == TrainConfig()
    except ValueError as error:
        assert "TrainConfig" in str(error) and len(str(error)) < 500
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "value", [10**5000, [10**5000], {"a": -(10**5000)}], ids=["int", "list", "dict"]
)
@pytest.mark.parametrize("name", ["seed", "learning_rate", "betas", "order"])
def test_a_number_that_python_will_not_write_is_refused_by_its_field(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, got "):
        TrainConfig(**{name: value})


def test_numbers_of_numpy_become_python_s():
    config = TrainConfig(learning_rate=np.float32(0.5), betas=(np.float64(0.5), 0), seed=np.int8(3))
    assert config == TrainConfig(learning_rate=0.5, betas=(0.5, 0), seed=3)
    assert json.loads(json.dumps(config.to_dict()))["betas"] == [0.5, 0]


words = st.sampled_from(
    ["0", "-1", "1e999", "nan", "9" * 40, "9" * 5000, "x" * 2000, "", "²", "\x1b"]
)
options = st.sampled_from(
    [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(TrainConfig)]
)


@FEW
@given(st.lists(st.tuples(options | st.just("--model"), words), min_size=1, max_size=3))
def test_any_option_of_train_is_taken_or_refused_in_one_line(pairs):
    """What argparse refuses is two lines; what `TrainConfig` refuses is one."""
    arguments = ["train", "--out", "", *(word for pair in pairs for word in pair)]
    for pair in pairs:
        if pair[0] == "--betas":
            arguments.append(pair[1])
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            values = vars(parser().parse_args(arguments))
            config = {f.name: values[f.name] for f in dataclasses.fields(TrainConfig)}
            TrainConfig(**(config | {"precision": "fp32"}))
    except SystemExit as stopped:
        assert stopped.code == 2 and len(errors.getvalue().splitlines()) == 2
        assert len(errors.getvalue()) < 400 and "\x1b" not in errors.getvalue()
    except ValueError as error:
        assert len(str(error)) < 300 and len(str(error).splitlines()) == 1


@pytest.mark.parametrize("value", ["x" * 5000, "9" * 5000, "1e3", "\x1b[31m", "-1", "10000"])
def test_a_number_of_workers_that_is_none_is_one_line_that_names_the_variable(monkeypatch, value):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", value)
    with pytest.raises(ValueError, match="MINIMIND_LITE_WORKERS must be") as error:
        worker_count()
    assert len(str(error.value)) < 150 and visible(str(error.value)) == str(error.value)
