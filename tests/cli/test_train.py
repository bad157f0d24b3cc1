"""Where a run computes."""

import pytest
import torch

from minimind_lite.cli.train import choose_device


@pytest.mark.parametrize("cuda, chosen", [(False, "cpu"), (True, "cuda")])
def test_auto_never_chooses_mps(monkeypatch, cuda, chosen):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert choose_device("auto").type == chosen
    assert choose_device().type == "cpu"
    assert choose_device("mps").type == "mps"  # only for who asks


@pytest.mark.parametrize("name", ["mps", "cuda:0", "abacus", "cpu:x", "cpu:", ""])
def test_a_device_that_is_not_there_is_an_error(monkeypatch, name):
    """`cpu:x` was a traceback."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device '{name}' is not available here; available: cpu"):
        choose_device(name)
