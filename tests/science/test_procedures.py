"""What a trial does, on a toy world: each procedure's rows, rates and values."""

import numpy as np
import pytest
from science.toy import SEGMENTS, N, ToyData, base_model, losses_of, rows_of

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.optimizer import learning_rate
from minimind_lite.runs.session import TrainingSession
from minimind_lite.science import bases, layouts, procedures
from minimind_lite.segments import Segment
from minimind_lite.trainer import mean_loss

WORLD = ToyData()
BATCHES = N // 16
PULSE = {"before": 6, "during": 3, "after": 4, "pulse_steps": 2, "factor": 2000}


@pytest.fixture(autouse=True)
def tiny_base(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    monkeypatch.setattr(shipped, "base_model", lambda name="nano": base_model())


def one_pass(**settings):
    return procedures.one_pass(WORLD, 0, settings)


def rows_of_run(run):
    return np.concatenate([r.rows for r in run.records])


# A pass


def test_a_pass_reads_the_layout_once_and_knows_where_the_segments_are():
    run = one_pass(probe=True).run
    assert rows_of_run(run).tolist() == list(range(N))
    assert run.info["segments"] == [vars(s) for s in SEGMENTS]
    assert run.probe("zh")[0].tolist() == [0]  # every 320 conversations
    assert set(run.info["probes_after"]) == {"zh", "en"}


def test_probes_are_close_around_segments_and_sparse_elsewhere():
    segment = Segment("en", 640, 656)  # step 40
    world = ToyData(n=1280, segments=(segment,))
    layout = world.layout(0)
    session = TrainingSession(
        base_model(), world.data(layout), TrainConfig(optimizer="none"), probes=world.probes
    )
    procedures.probe_around_segments(session, layout)
    measured = [r.step for r in session.records if r.probes]
    assert measured == [0, 20, *range(36, 61, 2)]  # 40 - 4 to 41 + 20, then 80 is past the end
    assert [r.step for r in session.records] == list(range(80))


def test_a_pass_may_begin_from_another_base_and_read_long_blocks(monkeypatch):
    asked = []
    monkeypatch.setattr(bases, "base_model", lambda name: asked.append(name) or base_model())
    drawn = WORLD.layout(0)
    monkeypatch.setattr(
        layouts, "draw_blocks", lambda seed, **named: asked.append((seed, named)) or drawn
    )
    world = ToyData()
    world.pool = {}
    settings = {"family": "blocks", "length": 9, "reserved": 3, "model": "low"}
    procedures.one_pass(world, 4, settings)
    assert asked == [(4, {"pool": {}, "length": 9, "reserved": 3}), "low"]


def test_an_arranged_pass_keeps_the_file_s_row_numbers():
    run = one_pass(rows="English early").run
    rows = rows_of_run(run)
    assert sorted(rows.tolist()) == list(range(N)) and rows.tolist() != list(range(N))
    data = WORLD.data(WORLD.layout(0))
    assert [r.tokens for r in run.records] == [
        int(data.supervised()[r.rows].sum()) for r in run.records
    ]


def test_a_seed_is_that_of_layout_and_order():
    shuffled = {"config": {"order": "shuffle"}}
    a, b = (procedures.one_pass(WORLD, seed, shuffled).run for seed in (0, 1))
    assert rows_of_run(a).tolist() != rows_of_run(b).tolist()
    assert a.info["train_config"]["seed"] == 0 and b.info["train_config"]["seed"] == 1


def test_a_clean_pass_has_no_off_domain_row_and_keeps_the_file_s_row_numbers():
    rows = rows_of_run(one_pass(rows="clean").run)
    inside = np.concatenate([np.arange(s.start, s.stop) for s in SEGMENTS])
    assert rows.tolist() == np.setdiff1d(np.arange(N), inside).tolist()


def test_garbage_is_scrambled_or_removed():
    garbage = {"garbage_start": 32, "garbage_rows": 16}
    plain, scrambled = one_pass().run, one_pass(rows="garbage", **garbage).run
    assert losses_of(plain)[:2] == losses_of(scrambled)[:2]
    assert losses_of(plain)[2] != losses_of(scrambled)[2]
    rows = rows_of_run(one_pass(rows="garbage removed", **garbage).run)
    assert rows.tolist() == [*range(32), *range(48, N)]


def test_rows_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="no rows 'cleen'"):
        one_pass(rows="cleen")


def test_garbage_is_made_of_chinese_rows_only():
    with pytest.raises(AssertionError, match="made of Chinese rows"):
        one_pass(rows="garbage", garbage_start=180, garbage_rows=16)


def test_off_domain_rows_of_no_weight_teach_nothing():
    """SGD without decay: a batch wholly in the segment then leaves the model as it is."""
    config = {"optimizer": "sgd", "learning_rate": 0.5, "weight_decay": 0.0}
    run = one_pass(config=config, off_domain_weight=0.0).run
    inside = [r for r in run.records if r.rows[0] >= 192 and r.rows[-1] < 240]
    assert len(inside) == 3 and all(r.update_norm == 0 for r in inside)
    assert run.records[0].update_norm > 0


def test_a_model_speaks_before_and_after_each_segment():
    texts = one_pass(speak=True).values["texts"]
    assert [(t["when"], t["step"]) for t in texts] == [
        ("base model", 0),
        ("before English (48)", 12),
        ("after English (48)", 15),
        ("before code (16)", 17),
        ("after code (16)", 18),
        ("at the end", BATCHES),
    ]
    assert set(texts[0]["answers"]) == set(procedures.PROMPTS)


def test_scrambled_rows_keep_their_tokens_and_lose_their_order():
    data = rows_of()
    bad = procedures.scrambled(data, np.array([3, 7]), seed=0)
    changed = np.flatnonzero(bad.ids != data.ids)
    inside = np.concatenate([np.arange(data.offsets[r], data.offsets[r + 1]) for r in (3, 7)])
    assert len(changed) and set(changed) <= set(inside) and data.mask[changed].all()
    for row in (3, 7):
        assert sorted(bad.row(row)[0]) == sorted(data.row(row)[0])


# State x batch


def test_swap_measures_the_same_batches_under_three_states():
    losses = procedures.swap(WORLD, 0, {"batch_size": 8}).values["swap"]
    assert set(losses) == {"en", "code_tiny"}
    assert all(
        set(states) == {"base model", "file order", "shuffled"} for states in losses.values()
    )
    data, model = rows_of(), base_model()
    assert losses["en"]["base model"] == {
        "off-domain": mean_loss(model, data.select(np.arange(192, 200))),
        "base": mean_loss(model, data.select(np.arange(240, 272))),
    }
    hard = {state: pair["off-domain"] - pair["base"] for state, pair in losses["en"].items()}
    assert hard["base model"] > 1 and hard["file order"] > 1  # neither knows the segment
    assert hard["shuffled"] < hard["file order"] - 0.5  # this one has met its domain


def test_swap_stops_just_before_the_segment():
    losses = procedures.swap(WORLD, 0, {"batch_size": 8}).values["swap"]
    model, data = base_model(), rows_of()
    session = procedures.TrainingSession(model, data, TrainConfig(batch_size=8, seed=0))
    session.advance(192 // 8)
    expected = mean_loss(model, data.select(np.arange(192, 200)))
    assert losses["en"]["file order"]["off-domain"] == expected


# The positive control


def test_a_pulse_on_ordinary_rows():
    run = procedures.pulse(WORLD, 0, PULSE | {"rows": "base"}).run
    assert run.info["event"] == [6, 9] and run.info["rows_kind"] == "base" and len(run) == 13
    rates = [r.lr / 5e-4 for r in run.records]
    assert rates == pytest.approx([1] * 6 + [2000] * 2 + [1] * 5)  # a constant schedule
    assert sorted(rows_of_run(run)) == list(range(13 * 16))  # numbered within the trial
    assert run.probe("zh")[0].tolist() == [0, 3, 6, 8]
    assert run.loss[7:].max() > run.loss[:6].max() + 0.3


def test_no_pulse_is_the_same_run_at_the_usual_rate():
    quiet = procedures.pulse(WORLD, 0, PULSE | {"rows": "base", "factor": 1}).run
    loud = procedures.pulse(WORLD, 0, PULSE | {"rows": "base"}).run
    assert losses_of(quiet)[:7] == losses_of(loud)[:7]  # the first loss of a pulse is before it
    assert {r.lr for r in quiet.records} == {5e-4}


def test_a_pulse_is_not_clipped():
    assert procedures.pulsed(TrainConfig(), 40.0).grad_clip == 0
    assert procedures.pulsed(TrainConfig(), 40.0).learning_rate == pytest.approx(0.02)
    assert procedures.pulsed(TrainConfig(), 1.0) == TrainConfig()


def test_off_domain_rows_are_the_segment_s_first_and_stand_between_chinese_ones():
    layout = WORLD.layout(0)
    rows = procedures._rows_around(layout, PULSE | {"rows": "off-domain"}, batch_size=16)
    chinese = np.flatnonzero(~layout.off_domain())
    assert rows[:96].tolist() == chinese[:96].tolist()
    assert rows[96:144].tolist() == list(range(192, 240))
    assert rows[144:].tolist() == chinese[96:160].tolist()
    base = procedures._rows_around(layout, PULSE | {"rows": "base"}, batch_size=16)
    assert base[96:144].tolist() == chinese[-48:].tolist()


# Rollback


LONG = ToyData(40 * 16, (Segment("en", 512, 560),))  # the detector's window is full after 30
ROLLBACK = {"every": 5, "skip": 2, "pulse_at": 31}


def test_a_rollback_trial_says_what_it_did():
    settings = ROLLBACK | {"cause": "pulse", "policy": "skip", "factor": 6000}
    outcome = procedures.rollback(LONG, 0, settings)
    calls, run = outcome.values["calls"], outcome.run
    assert calls and outcome.values["steps_taken"] == len(run)
    assert outcome.values["rows_never_read"] == LONG.n - len(np.unique(rows_of_run(run))) > 0
    assert run.info["segments"] == [vars(s) for s in LONG.segments]
    high = [r.step for r in run.records if r.lr > 1e-2]
    assert high == [31, 32, 33, 34][: calls[0] - 30]
    for record in run.records:
        if record.step not in high:
            assert record.lr == learning_rate(TrainConfig(), record.step, LONG.n // 16)


def test_hard_rows_are_read_in_file_order_without_a_pulse():
    settings = ROLLBACK | {"cause": "hard rows", "policy": "nothing", "factor": 40}
    outcome = procedures.rollback(LONG, 0, settings)
    run = outcome.run
    assert rows_of_run(run).tolist() == list(range(LONG.n)) and max(run.column("lr")) < 1e-3
    assert outcome.values["calls"] == [512 // 16]


# A base made in the trial


@pytest.fixture
def corpora(monkeypatch):
    """Three Chinese conversations to pretrain on, and eight of code, five of them in the pool."""
    from minimind_lite.conversations import Conversation

    def made(what: str, n: int) -> list[Conversation]:
        return [Conversation((("user", what), ("assistant", str(i))), what, i, 0) for i in range(n)]

    code = made("code", 8)
    monkeypatch.setattr(procedures, "OFF_DOMAIN", ("code",))
    monkeypatch.setattr(bases, "chinese_of_pretraining", lambda: made("zh", 3))
    encoded = []

    def encode_many(chat, conversations, *, max_len):
        encoded.append(list(conversations))
        return rows_of(32, segments=(), seed=7)

    monkeypatch.setattr(procedures, "encode_many", encode_many)
    return code, encoded


def test_pretraining_sees_the_chinese_and_as_many_others_as_the_exposure_says(corpora):
    code, encoded = corpora
    shared = ToyData()
    shared.pool = {"code": code[3:]}
    settings = {
        "model": {
            "vocab_size": 24,
            "dim": 16,
            "n_layers": 1,
            "n_heads": 2,
            "n_kv_heads": 1,
            "multiple_of": 8,
            "max_seq_len": 16,
        },
        "exposure": 2,
        "pretrain_lr": 0.01,
        "config": {"optimizer": "none"},
    }
    run = procedures.from_scratch(shared, 0, settings).run
    chosen = encoded[0]
    assert [c.file for c in chosen] == ["zh", "zh", "zh", "code", "code"]
    assert {c.messages for c in chosen[3:]} <= {c.messages for c in code[3:]}
    assert len(run) == BATCHES and run.info["train_config"]["optimizer"] == "none"
    again = procedures.from_scratch(shared, 0, settings).run
    assert losses_of(again) == losses_of(run)
    more = procedures.from_scratch(shared, 0, settings | {"exposure": 0}).run
    assert len(encoded[-1]) == 3 and losses_of(more) == losses_of(run)  # rows of a stub


def test_the_base_is_pretrained_before_the_pass(corpora, monkeypatch):
    shared = ToyData()
    shared.pool = {"code": []}
    settings = {"model": vars(base_model().config), "exposure": 0, "config": {"optimizer": "none"}}
    trained = procedures.from_scratch(shared, 0, settings | {"pretrain_lr": 0.02}).run
    untrained = procedures.from_scratch(shared, 0, settings | {"pretrain_lr": 1e-9}).run
    assert trained.loss[:10].mean() < untrained.loss[:10].mean() - 0.5


def test_probes_of_a_trial_are_the_first_of_each_set():
    few = procedures.probes_of(WORLD, rows=5)
    assert few["zh"].row(4)[0].tolist() == WORLD.probes["zh"].row(4)[0].tolist()
    shared = ToyData()
    shared.probes = {"zh": rows_of(108, segments=())}  # three kinds, 36 of each
    chosen = procedures.probes_of(shared)["zh"]
    assert len(chosen) == 24
    assert chosen.row(1)[0].tolist() == shared.probes["zh"].row(3)[0].tolist()
