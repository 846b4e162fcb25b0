import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors.paper_mode.unet import ScoreUNet
from scoread_qgis.detectors.shared.adam import Adam
from scoread_qgis.detectors.shared.sde import VESDE
from scoread_qgis.detectors.shared.training import train_score_network
from scoread_qgis.detectors.shared.weights import Linear, draw_weights

SDE = VESDE(5.0)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(network, seed):
    return draw_weights(network, torch.Generator().manual_seed(seed))


class LinearScore(nn.Module):
    """A scaled score that is affine in x_t: what a Gaussian background has at one time t."""

    def __init__(self, bands):
        super().__init__()
        self.linear = Linear(bands, bands)

    def forward(self, x, t, context=None):
        return self.linear(x)


class ConstantScore(nn.Module):
    def __init__(self, bands):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(bands))

    def forward(self, x, t, context=None):
        return self.value.expand_as(x)


def gaussian_background(bands, pixels=4000, seed=0):
    """Spectra of a Gaussian with a few strong directions, and their own mean and covariance."""
    generator = np.random.default_rng(seed)
    axes = np.linalg.qr(generator.standard_normal((bands, bands)))[0]
    spectra = 0.5 + generator.standard_normal((pixels, bands)) * np.geomspace(0.6, 0.02, bands) @ axes.T
    return torch.tensor(spectra, dtype=torch.float32), spectra.mean(axis=0), np.cov(spectra.T)


def gaussian_scaled_score(x, t, mean, covariance):
    """std(t) times -(Sigma + std(t)^2 I)^-1 (x - mu), in float64."""
    std = SDE.std(torch.tensor(t, dtype=torch.float64)).item()
    return -std * np.linalg.solve(covariance + std**2 * np.eye(len(mean)), (x - mean).T).T


@pytest.mark.parametrize("settings", [{}, {"decay": 0.01}, {"betas": (0.5, 0.999)}, {"eps": 1e-3}])
def test_adam_is_that_of_torch_to_the_last_bit(settings):
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ([torch.linspace(-1, 1, 50).requires_grad_(), torch.ones(3, 4).requires_grad_()] for _ in range(2))
    optimizer = Adam(ours, 0.01, **settings)
    known = {{"decay": "weight_decay"}.get(name, name): value for name, value in settings.items()}
    oracle = (torch.optim.AdamW if "decay" in settings else torch.optim.Adam)(theirs, lr=0.01, **known)
    for _ in range(20):
        noise = [torch.randn(weight.shape, generator=generator) for weight in ours]
        for weights in (ours, theirs):
            sum(((weight - 0.3) * z).square().sum() for weight, z in zip(weights, noise)).backward()
        optimizer.step()
        oracle.step()
        oracle.zero_grad()
    for weight, expected in zip(ours, theirs):
        assert torch.equal(weight, expected)


def test_training_does_not_import_the_optimizers_of_torch():
    """Their first use imports what compiles networks, which takes seconds."""
    program = (
        "import sys, numpy, torch\n"
        "known = set(sys.modules)\n"
        "from scoread_qgis.core.cube import ArrayCube\n"
        "from scoread_qgis.detectors.default_mode.sgm import SGM\n"
        "from scoread_qgis.detectors.fers import FERS\n"
        "from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM\n"
        "cube = ArrayCube(numpy.random.default_rng(0).random((32, 30, 6)))\n"
        "SGM.train([cube], hidden=16)\n"
        "PaperSGM.train([cube], epochs=1, hidden=16, samples=64)\n"
        "FERS.train([cube], patch=16, epochs=1, batch=2)\n"
        "new = {name for name in set(sys.modules) - known if name.split('.')[0] == 'torch'}\n"
        "assert len(new) < 20, sorted(new)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def test_linear_network_learns_the_score_of_a_gaussian_and_its_loss_is_the_theoretical_one():
    spectra, mean, covariance = gaussian_background(6)
    t = 0.05
    network = seeded(LinearScore(6), 0)
    for rate in (0.02, 0.002):
        curve = train_score_network(network, spectra, SDE, steps=1000, batch_size=256, learning_rate=rate, times=(t, t), seed=1)
    perturbed = SDE.perturb(spectra, torch.tensor(t), torch.randn(spectra.shape, generator=torch.Generator().manual_seed(2)))
    expected = gaussian_scaled_score(perturbed.double().numpy(), t, mean, covariance)
    error = network(perturbed, None).detach().numpy() - expected
    assert np.linalg.norm(error) / np.linalg.norm(expected) < 0.03
    variance = SDE.std(torch.tensor(t)).item() ** 2
    # At the optimum s S + z is the part of z that x_t does not tell: its covariance is Sigma (Sigma + s^2 I)^-1.
    optimum = np.trace(covariance @ np.linalg.inv(covariance + variance * np.eye(6)))
    assert np.mean(curve[-20:]) == pytest.approx(optimum, rel=0.02)


def test_unet_approaches_the_score_of_a_gaussian_over_a_range_of_times():
    spectra, mean, covariance = gaussian_background(8)
    network = seeded(ScoreUNet(8, hidden=64), 0)
    for rate, steps in ((3e-3, 250), (3e-4, 100)):
        train_score_network(network, spectra, SDE, steps=steps, batch_size=128, learning_rate=rate, times=(0.02, 0.3), seed=1)
    for t in (0.05, 0.25):
        perturbed = SDE.perturb(spectra, torch.tensor(t), torch.randn(spectra.shape, generator=torch.Generator().manual_seed(2)))
        expected = gaussian_scaled_score(perturbed.double().numpy(), t, mean, covariance)
        with torch.no_grad():
            output = network(perturbed, torch.tensor([t])).numpy()
        assert np.linalg.norm(output - expected) / np.linalg.norm(expected) < 0.12
        assert np.corrcoef(output.ravel(), expected.ravel())[0, 1] > 0.99


def train_twice(seed_a, seed_b):
    spectra, _, _ = gaussian_background(8, pixels=100)
    networks, curves = [], []
    for seed in (seed_a, seed_b):
        networks.append(seeded(ScoreUNet(8, hidden=16), seed))
        curves.append(
            train_score_network(networks[-1], spectra, SDE, steps=20, batch_size=16, learning_rate=1e-3, times=(1e-5, 1), seed=seed)
        )
    return networks, curves


def test_same_seed_gives_the_same_weights_and_losses():
    networks, curves = train_twice(3, 3)
    assert curves[0] == curves[1]
    for a, b in zip(networks[0].parameters(), networks[1].parameters()):
        assert torch.equal(a, b)


def test_other_seed_gives_other_weights():
    networks, curves = train_twice(3, 4)
    assert curves[0] != curves[1]
    assert not torch.equal(networks[0].fc1.weight, networks[1].fc1.weight)


def test_every_epoch_uses_each_spectrum_once_and_context_gets_the_perturbed_batch():
    spectra, _, _ = gaussian_background(4, pixels=50)
    batches = []

    def record(indices, x_t):
        assert x_t.shape == (len(indices), 4)
        batches.append(indices)

    train_score_network(
        seeded(LinearScore(4), 0), spectra, SDE, steps=8, batch_size=16, learning_rate=0.05, times=(0.1, 0.2), context=record
    )
    assert [len(batch) for batch in batches] == [16, 16, 16, 2] * 2
    epochs = [torch.cat(batches[:4]), torch.cat(batches[4:])]
    assert all(torch.equal(epoch.sort().values, torch.arange(50)) for epoch in epochs)
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("steps, points", [(1, 1), (100, 100), (101, 51), (250, 84)])
def test_loss_curve_is_short_and_progress_reaches_the_end(steps, points):
    spectra, _, _ = gaussian_background(4, pixels=50)
    reports = []
    curve = train_score_network(
        seeded(LinearScore(4), 0),
        spectra,
        SDE,
        steps=steps,
        batch_size=10,
        learning_rate=1e-3,
        times=(0.1, 0.2),
        progress=Progress(lambda fraction, message: reports.append((fraction, message))),
    )
    assert len(curve) == points and np.isfinite(curve).all()
    assert reports[-1][0] == 1 and reports[-1][1].startswith(f"training, step {steps} of {steps}, loss ")


def test_loss_of_a_network_that_says_nothing_is_the_number_of_bands():
    spectra, _, _ = gaussian_background(4, pixels=50)
    curve = train_score_network(ConstantScore(4), spectra, SDE, steps=250, batch_size=500, learning_rate=0.0, times=(0.1, 0.2))
    assert np.mean(curve) == pytest.approx(4, rel=0.03)


def test_cancel_stops_at_once():
    spectra, _, _ = gaussian_background(8)
    start, asked = time.process_time(), []  # processor time: what other programs take does not count

    def report(fraction, message):
        if not asked and time.process_time() - start > 0.3:
            asked.append(time.process_time())
            raise Cancelled

    with pytest.raises(Cancelled):
        train_score_network(
            seeded(ScoreUNet(8), 0),
            spectra,
            SDE,
            steps=10**6,
            batch_size=16,
            learning_rate=1e-4,
            times=(1e-5, 1),
            progress=Progress(report),
        )
    assert asked[0] - start < 0.3 + 1.2 * torch.get_num_threads(), "training asks often enough whether it has to stop"
    assert time.process_time() - asked[0] < 0.5, "and stops at once"
