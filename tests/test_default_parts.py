"""The parts of the default mode, each against an independent computation."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import OAS, oas

from scoread_qgis.detectors.contract import streamed
from scoread_qgis.detectors.default_mode.clutter import CLUTTER, CLUTTER_OF_VERSION_02
from scoread_qgis.detectors.default_mode.fusion import TailProbability, fuse
from scoread_qgis.detectors.default_mode.random_features import NEIGHBOURHOOD, RandomFeatures
from scoread_qgis.detectors.default_mode.version_02 import NeighbourDistance
from scoread_qgis.detectors.shared.trimmed_gaussian import TRIMMED, TrimmedGaussian, shrunk
from scoread_qgis.detectors.shared.weights import draw_weights


def mixed(n, size, seed):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(n, size)) @ generator.normal(size=(size, size)) + 5).astype(np.float32)


def test_gaussian_equals_a_trimmed_fit_by_scikit_learn():
    vectors = mixed(3000, 12, 0)
    vectors[:30] += 40
    model, kept = TrimmedGaussian.fit(torch.from_numpy(vectors))
    scaled = (vectors - vectors.mean(0, dtype=float)) / vectors.std(0, dtype=float, ddof=1)
    chosen = np.ones(len(vectors), bool)
    for _ in range(3):
        background = OAS().fit(scaled[chosen])  # which leaves out the terms 2 / size of the paper
        distances = background.mahalanobis(scaled)
        chosen = distances <= np.quantile(distances, 1 - TRIMMED)
    np.testing.assert_allclose(model.distance(torch.from_numpy(vectors)).numpy(), distances, rtol=1e-2)
    np.testing.assert_array_equal(kept.numpy(), chosen)
    assert not kept[:30].any()


@pytest.mark.parametrize("n", [15, 60, 1000])
def test_shrinkage_equals_scikit_learn(n):
    vectors = mixed(n, 80, 9).astype(float)
    vectors -= vectors.mean(0)
    # scikit-learn leaves out the terms 2 / size of the paper.
    np.testing.assert_allclose(
        shrunk(torch.from_numpy(vectors.T @ vectors / n), n).numpy(), oas(vectors, assume_centered=True)[0], atol=0.01 * vectors.var()
    )


def test_trimming_keeps_anomalies_from_shaping_the_background():
    clean = mixed(5000, 6, 1)
    spoilt = clean.copy()
    spoilt[:75] = spoilt[75:150] + np.array([25, 0, 0, 0, 0, 0], np.float32)
    inlier_covariance = np.cov(clean[150:].T)
    target = torch.from_numpy(spoilt[:75])
    centred = spoilt[:75] - clean[150:].mean(0)
    true = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(inlier_covariance), centred)
    plain_covariance, plain_centred = np.cov(spoilt.T), spoilt[:75] - spoilt.mean(0)
    plain = np.einsum("ij,jk,ik->i", plain_centred, np.linalg.inv(plain_covariance), plain_centred)
    trimmed = TrimmedGaussian.fit(torch.from_numpy(spoilt))[0].distance(target).numpy()
    assert np.abs(np.log(trimmed / true)).mean() < 0.3 * np.abs(np.log(plain / true)).mean()


def test_drawn_vectors_have_the_mean_and_the_covariance_of_the_gaussian():
    vectors = mixed(3000, 5, 4) * np.array([1, 10, 0.1, 1000, 1], np.float32)
    model, _ = TrimmedGaussian.fit(torch.from_numpy(vectors))
    scale, whitening = model.scale.double().numpy(), model.whitening.double().numpy()
    mean = model.mean.double().numpy() * scale + model.centre.double().numpy()
    covariance = np.linalg.inv(whitening @ whitening.T) * np.outer(scale, scale)
    drawn = model.draw(200_000, seed=1).double().numpy()
    deviations = np.sqrt(np.diag(covariance))
    # Five standard errors, of means and of the products of normal values
    assert np.abs((drawn.mean(0) - mean) / deviations).max() < 5 / np.sqrt(len(drawn))
    assert np.abs((np.cov(drawn.T) - covariance) / np.outer(deviations, deviations)).max() < 5 * np.sqrt(2 / len(drawn))
    assert torch.equal(model.draw(5, seed=1), model.draw(5, seed=1))
    assert not torch.equal(model.draw(5, seed=1), model.draw(5, seed=2))


def test_gaussian_with_fewer_vectors_than_coordinates_is_finite_and_ignores_units():
    vectors = mixed(25, 60, 2)
    model, _ = TrimmedGaussian.fit(torch.from_numpy(vectors))
    distances = model.distance(torch.from_numpy(vectors))
    assert torch.isfinite(distances).all()
    scales = (10.0 ** np.linspace(-3, 3, 60)).astype(np.float32)
    scaled, _ = TrimmedGaussian.fit(torch.from_numpy(vectors * scales))
    np.testing.assert_allclose(scaled.distance(torch.from_numpy(vectors * scales)), distances, rtol=0.02)


def numpy_neighbour_distance(spectra, references, positions, reference_positions, projection, mean):
    """10th smallest squared distance to the references that are not near, by a full table."""
    table = cdist((spectra - mean) @ projection, (references - mean) @ projection, "sqeuclidean")
    near = np.abs(positions[:, None] - reference_positions[None]).max(2) <= 3
    table[near] = np.inf
    return np.sort(table, axis=1)[:, 9]


def test_neighbours_equal_a_full_table_of_distances():
    rows, columns = np.divmod(np.arange(1200), 40)
    positions = np.stack([rows, columns], 1).astype(np.float32)
    order = np.random.default_rng(3).permutation(1200)
    spectra, positions = mixed(1200, 50, 3)[order], positions[order]
    projection = np.random.default_rng(4).normal(size=(50, 30)).astype(np.float32)
    mean = spectra.mean(0)
    model = NeighbourDistance(*(torch.from_numpy(each) for each in (mean, projection, (spectra[:500] - mean) @ projection)), None)
    expected = numpy_neighbour_distance(
        *(each.astype(float) for each in (spectra, spectra[:500])), positions, positions[:500], projection.astype(float), mean.astype(float)
    )
    found = model.distance(torch.from_numpy(spectra), torch.from_numpy(positions), torch.from_numpy(positions[:500]))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)


def test_tiny_reference_sets_use_the_farthest_there_is():
    spectra = torch.from_numpy(mixed(6, 4, 5))
    positions = torch.tensor([[0.0, 0], [1, 1], [50, 50], [60, 60], [70, 70], [80, 80]])
    model = NeighbourDistance(torch.zeros(4), torch.eye(4), spectra, None)
    distances = model.distance(spectra, positions, positions)
    projected = model.references
    expected = max(float((projected[0] - projected[i]).square().sum()) for i in (2, 3, 4, 5))
    assert distances[0].item() == pytest.approx(expected, rel=1e-4)


def test_network_features_of_a_block_equal_loops_over_pixels():
    bands, hidden = 7, 10
    network = draw_weights(RandomFeatures(bands, hidden), torch.Generator().manual_seed(0))
    generator = np.random.default_rng(6)
    spectra = generator.normal(size=(6, 5, bands)).astype(np.float32)
    valid = generator.random((6, 5)) > 0.3
    weights = {name: weight.detach().numpy().astype(float) for name, weight in network.state_dict().items()}

    def units(values):
        half = hidden // 2
        return np.concatenate([np.tanh(values[:half]), np.where(values[half:] > 0, 1, 0.2) * values[half:]])

    expected = []
    for row in range(1, 5):
        for column in range(5):
            if not valid[row, column]:
                continue
            total = 0
            for number, (down, right) in enumerate(NEIGHBOURHOOD):
                r, c = row + down, column + right
                there = 0 <= r < 6 and 0 <= c < 5 and valid[r, c]
                spectrum = spectra[r, c] if there else spectra[row, column]
                total = total + weights["spatial"][number] * units(spectrum @ weights["spectral"])
            expected.append(units(total @ weights["mixing"]))
    with torch.inference_mode():
        found = network.features_of_block(torch.from_numpy(spectra), torch.from_numpy(valid), slice(1, 5), slice(0, 5))
    np.testing.assert_allclose(found.numpy()[valid[1:5]], expected, atol=1e-5)


def test_tail_probability_is_that_of_the_training_pixels_and_follows_a_pareto_tail():
    values = torch.from_numpy(np.random.default_rng(7).pareto(2.0, 20_000) + 1)  # P(value > x) = x^-2
    calibration = TailProbability.fit(values)
    x = torch.tensor([1.5, 2.0, 5.0, 10.0, 1000.0])
    np.testing.assert_allclose(calibration(x).numpy(), 2 * np.log(x.numpy()), rtol=0.12)
    ordered = calibration(values.float().sort().values)
    assert (ordered.diff() >= 0).all() and (ordered >= 0).all()


def test_tail_probability_of_equal_values_does_not_fail():
    assert torch.isfinite(TailProbability.fit(torch.ones(50))(torch.tensor([0.0, 1.0, 2.0]))).all()


def test_fusion_lies_between_mean_and_maximum():
    tails = torch.rand(4, 1000, generator=torch.Generator().manual_seed(1))
    fused = fuse(list(tails))
    assert (fused >= tails.mean(0) - 1e-6).all() and (fused <= tails.max(0).values + 1e-6).all()


def numpy_clutter(values, clutter):
    rows, columns = values.shape
    medians = np.full_like(values, np.nan)
    for row in range(rows):
        for column in range(columns):
            window = [
                values[r, c]
                for r in range(row - clutter.reach, row + clutter.reach + 1, clutter.stride)
                for c in range(column - clutter.reach, column + clutter.reach + 1, clutter.stride)
                if 0 <= r < rows and 0 <= c < columns and not np.isnan(values[r, c])
            ]
            if window:
                medians[row, column] = sorted(window)[(len(window) - 1) // 2]
    return medians


@pytest.mark.parametrize("clutter", [CLUTTER, CLUTTER_OF_VERSION_02])
@pytest.mark.parametrize("shape", [(40, 33), (3, 50), (50, 3), (1, 1)])
def test_clutter_equals_loops_and_does_not_depend_on_the_blocks(shape, clutter):
    generator = np.random.default_rng(8)
    values = generator.normal(size=shape).astype(np.float32)
    values[generator.random(shape) < 0.2] = np.nan
    np.testing.assert_array_equal(clutter.median(values, 0, shape[0]), numpy_clutter(values, clutter))
    expected = values - np.float32(clutter.share) * numpy_clutter(values, clutter)
    for size in (1, 2, 7, 100):
        stream = ((row, values[row : row + size]) for row in range(0, shape[0], size))
        pieces = list(streamed(stream, clutter.reach, clutter.less_clutter, shape[0]))
        assert [row for row, _ in pieces] == list(np.cumsum([0] + [len(piece) for _, piece in pieces[:-1]]))
        np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), expected)
