import pytest
import torch

from scoread_qgis.detectors.shared.device import pick_device


def test_cpu_and_auto_always_give_a_device_that_computes():
    assert pick_device("cpu") == torch.device("cpu")
    assert torch.ones(2, device=pick_device("auto")).sum().item() == 2


@pytest.mark.parametrize("name, backend", [("cuda", torch.cuda), ("mps", torch.backends.mps)])
def test_device_that_is_not_there_is_refused_with_the_remedy(name, backend, monkeypatch):
    monkeypatch.setattr(backend, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device {name}: .*(?i:choose the device auto or cpu)"):
        pick_device(name)


@pytest.mark.parametrize("cuda, mps, expected", [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_prefers_cuda_then_mps(cuda, mps, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto") == torch.device(expected)


def test_unknown_device_is_refused():
    with pytest.raises(ValueError, match="no device 'tpu'"):
        pick_device("tpu")
