"""The losses of FERS against values computed by other means, and what each stage changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Progress
from scoread_qgis.detectors.fers import losses
from scoread_qgis.detectors.fers.spatial import SpatialBranch
from scoread_qgis.detectors.fers.training import Patches, Training, pixels
from scoread_qgis.detectors.shared.weights import draw_weights

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_distillation_loss():
    teacher = torch.zeros(2, 2, 1, 1), torch.zeros(2, 1, 1, 2)
    student = torch.zeros(2, 2, 1, 1), torch.zeros(2, 1, 1, 2)
    teacher[0][:, :, 0, 0] = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    student[0][:, :, 0, 0] = torch.tensor([[0.0, 2.0], [3.0, 4.0]])  # cosines 0 and 1: loss 1/2
    teacher[1][:, 0, 0] = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    student[1][:, 0, 0] = torch.tensor([[1.0, 1.0], [-5.0, 0.0]])  # cosines 1 / sqrt 2 and -1
    assert losses.distillation_loss(teacher, student).item() == pytest.approx(0.5 + (1 - 0.5**0.5 + 2) / 2)


def test_spectral_loss():
    inputs, same = torch.zeros(1, 2, 2, 2), (torch.ones(1, 1, 1, 1),)
    parts = losses.spectral_loss(inputs, torch.full((1, 2, 2, 2), 3.0), torch.zeros(8), same, same)
    assert parts["classifier"].item() == pytest.approx(0.1 * np.log(2))  # a probability of 1/2 for background
    assert parts["reconstruction"].item() == pytest.approx(0.1 * 9)
    assert parts["distillation"].item() == pytest.approx(0)
    confident = losses.spectral_loss(inputs, inputs, torch.full((8,), -2.0), same, same)
    assert confident["classifier"].item() == pytest.approx(0.1 * np.log(1 + np.exp(-2)))


def test_cross_covariance_loss():
    first, second = random(50, 3) * 7 + 2, random(50, 4, seed=1)
    second[:, 0] = first[:, 0] * 3 - 5
    expected = np.corrcoef(first.numpy(), second.numpy(), rowvar=False)[:3, 3:]
    assert losses.cross_covariance_loss(first, second).item() == pytest.approx((expected**2).sum(), rel=1e-5)
    # a channel that does not vary has no covariance, and no infinite one
    assert torch.isfinite(losses.cross_covariance_loss(first, torch.ones(50, 2, dtype=torch.float64)))


def test_cosine_loss():
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), torch.tensor([[3.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    assert losses.cosine_loss(first, second).item() == pytest.approx(1 + (1 - 1 + 0.5**0.5) / 3)
    assert losses.cosine_loss(first, -first).item() == pytest.approx(0, abs=1e-6)


def test_variance_loss():
    features = torch.tensor([[0.0, 1.0], [4.0, 1.0]])  # variances 8 and 0: penalties 0 and 1; mean absolute value 1.5
    assert losses.variance_loss(features).item() == pytest.approx(0.5 + 1.5)


def test_structural_similarity_against_plain_loops():
    first, second = random(2, 3, 9, 8) * 0.05, random(2, 3, 9, 8, seed=1) * 0.05
    values = []
    for image in range(2):
        for band in range(3):
            for row in range(5):
                for column in range(4):
                    a, b = (x[image, band, row : row + 5, column : column + 5].numpy().ravel() for x in (first, second))
                    covariance = np.cov(a, b, bias=True)
                    c1, c2 = (0.01 * 0.2) ** 2, (0.03 * 0.2) ** 2
                    luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
                    values.append(luminance * (2 * covariance[0, 1] + c2) / (covariance[0, 0] + covariance[1, 1] + c2))
    assert losses.ssim_loss(first, second).item() == pytest.approx(1 - np.mean(values))
    assert losses.ssim_loss(first, first).item() == pytest.approx(0, abs=1e-9)


def test_spatial_loss_has_the_published_weights():
    inputs, restored = random(2, 3, 8, 8) * 0.05, random(2, 3, 8, 8, seed=1) * 0.05
    spectral, spatial = random(128, 3, seed=2), random(128, 3, seed=3)
    parts = losses.spatial_loss(inputs, restored, spectral, spatial, torch.Generator())
    assert parts["cross covariance"] == losses.cross_covariance_loss(spectral, spatial)
    assert parts["cosine"] == pytest.approx(0.1 * losses.cosine_loss(spectral, spatial))
    assert parts["variance"] == pytest.approx(0.1 * losses.variance_loss(spatial))
    assert parts["restoration"] == pytest.approx(((inputs - restored) ** 2).mean())
    assert parts["structure"] == pytest.approx(0.01 * losses.ssim_loss(restored, inputs))


def training_on(cubes, width=32, batch=10):
    patches = Patches(cubes, width, 0, Progress(), "cpu")
    return Training(cubes[0].bands, 0, (), patches, batch, "cpu", torch.Generator().manual_seed(0))


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before, network):
    return {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}


def test_each_stage_trains_its_student_only():
    values = np.random.default_rng(0).normal(size=(64, 64, 10)).astype(np.float32)
    training = training_on([ArrayCube(values)], batch=4)
    filters = {name for name, _ in training.spectral.teacher.named_parameters()}
    before, teacher, spatial = weights(training.spectral), weights(training.spectral.teacher), weights(training.spatial)
    training.spectral_stage(2, 5e-3, Progress())
    assert not changed(teacher, training.spectral.teacher) & filters
    assert not changed(spatial, training.spatial)
    assert all(parameter.grad is None for parameter in training.spectral.teacher.parameters())
    student = {name for name, _ in training.spectral.named_parameters() if not name.startswith(("teacher", "branch.layer1"))}
    assert student and student == changed(before, training.spectral) & student

    spectral, backbone = weights(training.spectral), weights(training.spatial.backbone)
    for parameter in training.spectral.parameters():
        parameter.grad = None
    training.spatial_stage(2, 5e-3, Progress())
    assert not changed(spectral, training.spectral)
    assert all(parameter.grad is None for parameter in training.spectral.parameters())
    filters = {name for name, _ in training.spatial.backbone.named_parameters()}
    assert not changed(backbone, training.spatial.backbone) & filters
    student = {name for name, _ in training.spatial.named_parameters() if not name.startswith("backbone")}
    assert student == changed(spatial, training.spatial) & student


@pytest.mark.needs_data
def test_the_student_rebels_on_real_patches():
    """Stage 2 lowers the cross covariance and improves the restoration; f_spa says less of f_spe than that of an untrained branch."""
    from scipy.io import loadmat

    cubes = [
        ArrayCube(loadmat(DATA / "scenes" / f"{name}.mat")["data"][..., 4:188:12].astype(np.float32))
        for name in ("abu-airport-1", "sandiego")
    ]
    training = training_on(cubes)
    training.spectral_stage(10, 5e-3, Progress())
    images, valid = training.patches.batch(slice(None))
    f_spe = pixels(training.spectral_features(images), valid)

    def correlation():
        training.spatial.eval()
        with torch.no_grad():
            return losses.cross_covariance_loss(f_spe, pixels(training.spatial(images), valid)).item()

    untrained = correlation()
    training.spatial_stage(30, 5e-3, Progress())
    epochs = training.losses[10:]
    for name in ("cross covariance", "restoration", "structure"):
        first, last = (np.mean([parts[name] for parts in some]) for some in (epochs[:3], epochs[-3:]))
        assert last < (0.5 if name == "cross covariance" else 0.95) * first, name
    assert correlation() < 0.5 * untrained


def test_pyramid_equals_pooling_and_interpolation_of_torch():
    """The factors by which pooling and interpolation are done, and the exchange of interpolation and convolution."""
    generator = torch.Generator().manual_seed(0)
    branch = draw_weights(SpatialBranch(7, 0), generator).eval()
    images = torch.rand(2, 7, 83, 50, generator=generator)
    with torch.no_grad():
        features = branch.backbone(branch.rgb(images))[2]
        pyramid = [interpolate(torch.nn.functional.adaptive_avg_pool2d(features, size), (83, 50), mode="bilinear") for size in (1, 2, 4)]
        mixed = branch.feature(branch.mix(torch.cat(pyramid, 1)).relu()).relu()
        expected = branch.attention(mixed)
        torch.testing.assert_close(branch(images), expected, rtol=1e-4, atol=1e-6)
