import numpy as np
import pytest
import torch
from scipy.integrate import quad

from scoread_qgis.detectors.shared.sde import VESDE


@pytest.mark.parametrize("sigma", [2.0, 5.0, 25.0])
@pytest.mark.parametrize("t", [1e-5, 1e-3, 0.05, 0.5, 1.0])
def test_variance_of_the_kernel_is_the_integral_of_the_squared_diffusion(sigma, t):
    variance, _ = quad(lambda u: sigma ** (2 * u), 0, t)
    assert VESDE(sigma).std(torch.tensor(t)).item() ** 2 == pytest.approx(variance, rel=1e-5)


def test_kernel_agrees_with_a_simulation_of_the_equation():
    generator = np.random.default_rng(0)
    t, steps, paths = 0.4, 200, 20_000
    x = np.zeros(paths)
    for step in range(steps):
        x += 5 ** (t * (step + 0.5) / steps) * np.sqrt(t / steps) * generator.standard_normal(paths)
    assert x.std() == pytest.approx(VESDE(5.0).std(torch.tensor(t)).item(), rel=0.03)


def test_perturbed_spectra_have_the_stated_mean_and_variance_at_each_time():
    x, t = torch.rand(3, 1, 40), torch.tensor([0.01, 0.2, 1.0])
    z = torch.randn(3, 5000, 40, generator=torch.Generator().manual_seed(1))
    noise = VESDE(5.0).perturb(x, t[:, None], z) - x
    assert noise.var(dim=(1, 2)).sqrt().numpy() == pytest.approx(VESDE(5.0).std(t).numpy(), rel=0.01)
    assert noise.mean(dim=(1, 2)).abs().max() < 0.02


def test_sigma_that_does_not_grow_is_refused():
    with pytest.raises(ValueError, match="greater than 1"):
        VESDE(1.0)
