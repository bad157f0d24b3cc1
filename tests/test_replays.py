"""Runs from before the package was laid out on shelves, trained again: the same to the last bit.

On another processor or version other instructions round otherwise; there the first steps must
agree to a thousandth of a nat.
"""

import json
import math
from pathlib import Path

import pytest

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.provenance import environment, same_bits
from minimind_lite.trainer import train

REPLAYS = json.loads((Path(__file__).parent / "replays.json").read_text(encoding="utf-8"))
STEPS = 8  # of the 40 that are recorded; all of them were compared when the package moved


@pytest.fixture(scope="module")
def shipped_data():
    chat = shipped.chat()
    return shipped.sft_rows(chat), shipped.probes(chat)


@pytest.mark.parametrize("name", REPLAYS["runs"])
def test_a_run_from_before_the_move_is_trained_again(name, shipped_data):
    recorded, (data, probes) = REPLAYS["runs"][name], shipped_data
    config = TrainConfig.from_dict(recorded["config"] | {"max_steps": STEPS})
    records = list(train(shipped.base_model(), data, config, probes=probes))
    losses = [float.fromhex(loss) for loss in recorded["loss"]][:STEPS]
    norms = [float.fromhex(norm) for norm in recorded["grad_norm"]][:STEPS]
    if same_bits(environment(), REPLAYS["environment"]):
        assert [r.loss for r in records] == losses
        assert [r.grad_norm.hex() for r in records] == recorded["grad_norm"][:STEPS]
        measured = [{k: v.hex() for k, v in r.probes.items()} for r in records if r.probes]
        assert measured == recorded["probes"][: len(measured)]
    else:
        assert [r.loss for r in records] == pytest.approx(losses, abs=1e-3)
        known = [(r.grad_norm, n) for r, n in zip(records, norms) if not math.isnan(n)]
        assert all(a == pytest.approx(b, rel=1e-2) for a, b in known)
