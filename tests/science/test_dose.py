"""A dose and its control: the same weights, the same rows, only the segment differs."""

import numpy as np
import pytest
from science.toy import ToyData, base_model, rows_of

from minimind_lite.files import shipped
from minimind_lite.science import dose as doses
from minimind_lite.segments import Segment

SETTINGS = {"factor": 10, "lengths": [16, 32], "before": 2, "after": 3}


class Shared(ToyData):
    """A pool of 160 Chinese rows and 40 of each other domain."""

    def __init__(self):
        super().__init__()
        self.pool = {"zh_chat": range(160), "code": range(40), "en": range(40)}
        self.pool_rows = rows_of(240, segments=(Segment("code", 160, 200), Segment("en", 200, 240)))


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    monkeypatch.setattr(shipped, "base_model", base_model)
    monkeypatch.setattr(doses, "OFF_DOMAIN", ("code", "en"))
    shared = Shared()
    shared.probes["code"] = shared.probes["en"]

    def run(**settings):
        return doses.dose(shared, 0, SETTINGS | settings).values["dose"]

    return run


def test_one_entry_for_each_domain_and_length(measured):
    entries = measured()
    assert [(e["domain"], e["length"]) for e in entries] == [
        ("code", 16),
        ("code", 32),
        ("en", 16),
        ("en", 32),
    ]
    for entry in entries:
        assert len(entry["dent"]) == 3 and set(entry["forgotten"]) == {"zh", "code", "en"} - {
            entry["domain"]
        }
        assert entry["learnt"] > 0


def test_a_rate_of_nothing_leaves_no_dent(measured):
    entries = measured(factor=1e-12)
    assert np.abs([e["dent"] for e in entries]).max() < 1e-6
    assert max(abs(e["learnt"]) for e in entries) < 1e-6


def test_a_longer_segment_does_not_depend_on_shorter_ones_before_it(measured):
    """What came after a shorter dose was rolled back to the bit."""
    both = {(e["domain"], e["length"]): e for e in measured()}
    alone = {(e["domain"], e["length"]): e for e in measured(lengths=[32])}
    assert alone["en", 32] == both["en", 32] and alone["code", 32] == both["code", 32]
