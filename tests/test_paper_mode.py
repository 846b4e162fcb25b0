import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.paper_mode.readout import PixelNoise, unit_score_sum
from scoread_qgis.detectors.paper_mode.ring import nearest_in_ring, ring_offsets, ring_positions
from scoread_qgis.detectors.paper_mode.unet import ScoreUNet
from scoread_qgis.detectors.shared.explanation import expected_backgrounds, region_spectra
from scoread_qgis.detectors.shared.tensor_file import decode, encode
from scoread_qgis.detectors.shared.torch_archive import read_archive

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scene(rows=14, columns=12, bands=10, seed=0):
    """Mixtures of two materials with noise, six anomalous pixels, and where those are."""
    generator = np.random.default_rng(seed)
    materials = generator.random((3, bands))
    share = generator.random((rows, columns, 1))
    values = share * materials[0] + (1 - share) * materials[1] + 0.01 * generator.standard_normal((rows, columns, bands))
    truth = np.zeros((rows, columns), dtype=bool)
    truth.flat[generator.choice(rows * columns, 6, replace=False)] = True
    values[truth] = 0.5 * values[truth] + 0.5 * materials[2]
    return (1000 * values).astype(np.float32), truth


def small_model(cube, **settings):
    return PaperSGM.train([cube], **{"epochs": 2, "hidden": 32, "seed": 1, **settings})


def detect(model, cube, **settings):
    return np.concatenate([scores for _, scores in model.detect(cube, **{"perturbations": 10, **settings})])


# Parity with the authors.


@pytest.fixture(scope="module")
def authors():
    """The authors' weights in our network, and their scene."""
    weights = read_archive(DATA / "reference" / "scoread_hydice_weights.pth")
    # The weights are of an unconditional network, so that the FiLM weights in the file, of six layers, took no part in the authors' map.
    film = {key for key in weights if "film" in key}
    assert film == {f"{layer}.{kind}" for layer in ("film1", "film2", "film3", "film4", "tfilm4", "tfilm3") for kind in ("weight", "bias")}
    network = ScoreUNet(162)
    network.load_state_dict({key: value for key, value in weights.items() if key not in film})
    return PaperSGM(network, 5.0, 0.0, 1.0, 5, 3, []), loadmat(DATA / "scenes" / "hydice.mat")


@pytest.mark.needs_data
def test_authors_weights_give_the_authors_scores(authors):
    model, hydice = authors
    assert hydice["data"].min() == 0 and hydice["data"].max() == 1
    scores = model.scores(hydice["data"].reshape(-1, 162), t=0.05)
    assert scores[0, :5] == pytest.approx([-0.48410, 0.04595, -0.25434, -0.23770, 0.11021], abs=1e-5)
    # The sum is of 1,296,000 numbers that mostly cancel; it has to agree to the accuracy of float32 in what is summed.
    assert abs(scores.sum(dtype=np.float64) - 11813.06) < 1e-6 * np.abs(scores).sum(dtype=np.float64)


@pytest.mark.needs_data
def test_authors_weights_give_spectra_like_those_of_the_scene(authors):
    model, hydice = authors
    drawn, real = model.sample(64), hydice["data"].reshape(-1, 162)
    assert np.abs(drawn.mean(0) - real.mean(0)).max() < 0.35 * real.std()
    assert 0.5 < np.median(drawn.std(0) / real.std(0)) < 1.2


@pytest.mark.needs_data
def test_authors_weights_expect_background_where_anomalies_are(authors):
    """One step of Tweedie's formula takes anomalies most of the way to the background, and background nowhere."""
    model, hydice = authors
    cube = ArrayCube(hydice["data"])
    labels = hydice["map"].astype(int)
    labels[60:63, 10:13] = 2

    class Regions:
        count = 2

        def labels(self, first, last):
            return labels[first:last]

    seen = region_spectra(cube, Regions())
    backgrounds = np.stack([expected.spectrum for expected in expected_backgrounds(cube, Regions(), seen)])
    explanation = model.bind(cube).explain(seen.mean, seen.centres, backgrounds)
    assert explanation.background_scores[0] < 0.6 * explanation.scores[0]
    assert explanation.background_scores[1] == pytest.approx(explanation.scores[1], rel=0.15)
    assert explanation.background_scores + explanation.contributions.sum(1) == pytest.approx(explanation.scores, rel=1e-4)


@pytest.mark.needs_data
def test_authors_weights_give_the_authors_map(authors):
    model, hydice = authors
    reference = loadmat(DATA / "reference" / "scoread_hydice_score_map.mat")["SAD_result"]
    ours = detect(model, ArrayCube(hydice["data"]), t=0.05, perturbations=100)
    assert roc_auc_score(hydice["map"].ravel(), ours.ravel()) >= 0.999
    assert np.corrcoef(ours.ravel(), reference.ravel())[0, 1] >= 0.90
    assert spearmanr(ours.ravel(), reference.ravel())[0] >= 0.68
    assert (ours.min(), ours.max()) == pytest.approx((reference.min(), reference.max()), rel=0.05)


# Ring context.


@pytest.mark.parametrize("outer, inner, neighbours", [(5, 3, 16), (7, 5, 24), (3, 1, 8), (11, 7, 72)])
def test_ring_has_the_pixels_between_the_windows(outer, inner, neighbours):
    assert len(ring_offsets(outer, inner)) == outer**2 - inner**2 == neighbours


@pytest.mark.parametrize("outer, inner", [(4, 3), (5, 2), (3, 3), (3, 5), (3, -1)])
def test_windows_without_a_ring_are_refused(outer, inner):
    with pytest.raises(ValueError, match="windows must be odd"):
        ring_offsets(outer, inner)


def brute_force_context(values, valid, x_t, row, column, outer, inner):
    """Neighbour, cosine similarity and distance by loops over a padded scene: (K, bands + 2)."""
    reach = outer // 2
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    padded_valid = np.pad(valid, reach, mode="reflect")
    result = np.zeros((len(x_t), values.shape[2] + 2))
    for k, x in enumerate(x_t):
        best = np.inf
        for dr in range(-reach, reach + 1):
            for dc in range(-reach, reach + 1):
                if max(abs(dr), abs(dc)) <= inner // 2 or not padded_valid[row + reach + dr, column + reach + dc]:
                    continue
                y = padded[row + reach + dr, column + reach + dc]
                distance = np.sqrt(((x - y) ** 2).sum())
                if distance < best:
                    best = distance
                    result[k] = np.concatenate([y, [x @ y / np.sqrt((x @ x) * (y @ y)), distance]])
    return result


@pytest.mark.parametrize("outer, inner", [(3, 1), (5, 3), (7, 3)])
def test_context_is_the_nearest_valid_neighbour_of_each_perturbed_spectrum(outer, inner):
    generator = np.random.default_rng(0)
    values, valid = generator.random((9, 8, 6)), generator.random((9, 8)) > 0.3
    valid[:4, :5] = False
    valid[1, 2] = True  # with windows 3 / 1 it has no valid neighbour
    rows, columns = np.nonzero(valid)
    x_t = values[rows, columns][:, None] + 0.2 * generator.standard_normal((len(rows), 5, 6))
    near = ring_positions(rows, columns, ring_offsets(outer, inner), 9, 8)
    context = nearest_in_ring(torch.tensor(x_t), torch.tensor(values[near]), torch.tensor(valid[near])).numpy()
    expected = [brute_force_context(values, valid, x, row, column, outer, inner) for x, row, column in zip(x_t, rows, columns)]
    assert context == pytest.approx(np.array(expected), abs=1e-9)
    if outer == 3:
        assert not context[(rows == 1) & (columns == 2)].any()


def test_ring_of_a_scene_smaller_than_the_window_is_mirrored_as_numpy_pads():
    line = np.arange(3)
    rows, columns = ring_positions(np.array([1]), np.array([0]), ring_offsets(9, 1), 3, 1)
    padded = np.pad(line, 4, mode="reflect")
    assert rows[0].tolist() == [padded[1 + 4 + offset] for offset in ring_offsets(9, 1)[:, 0]]
    assert not columns.any()


# Readout.


def test_anomaly_value_is_the_length_of_the_sum_of_unit_scores():
    scores = np.random.default_rng(0).standard_normal((4, 7, 5))
    expected = [np.linalg.norm(sum(score / np.linalg.norm(score) for score in of_pixel)) for of_pixel in scores]
    assert unit_score_sum(torch.tensor(scores)).numpy() == pytest.approx(expected)
    assert unit_score_sum(torch.ones(1, 9, 5)).item() == pytest.approx(9)


def test_noise_is_standard_normal_independent_between_rows_and_not_of_the_size_of_the_passes():
    one, two = PixelNoise(1, 5), PixelNoise(1, 5)
    together = one.draw(7, 3, 5)
    assert torch.equal(together, torch.cat([two.draw(2, 3, 5), two.draw(5, 3, 5)]))
    large = [PixelNoise(*key).draw(100, 10, 20).flatten() for key in ((1, 5), (1, 6), (2, 5))]
    for noise in large:
        assert noise.mean().item() == pytest.approx(0, abs=0.03) and noise.std().item() == pytest.approx(1, abs=0.02)
    assert (torch.corrcoef(torch.stack(large)) - torch.eye(3)).abs().max() < 0.03


def test_detection_is_the_published_readout_pixel_by_pixel():
    values, _ = scene(rows=6, columns=5)
    cube = ArrayCube(values)
    model = small_model(cube, conditional=True)
    scores = detect(model, cube, t=0.1, perturbations=4, seed=9)
    scaled = ((values - values.min()) / (values.max() - values.min())).astype(np.float64)
    std = np.sqrt((5**0.2 - 1) / (2 * np.log(5)))
    for row in (0, 3, 5):
        noise = PixelNoise(9, row).draw(5, 4, 10).numpy()
        for column in range(5):
            x_t = scaled[row, column] + std * noise[column]
            context = brute_force_context(scaled, np.ones((6, 5), dtype=bool), x_t, row, column, 5, 3)
            with torch.no_grad():
                score = model.network(torch.tensor(x_t).float(), torch.full((4,), 0.1), torch.tensor(context).float()).numpy()
            unit = score / np.linalg.norm(score, axis=1, keepdims=True)
            assert scores[row, column] == pytest.approx(np.linalg.norm(unit.sum(axis=0)), rel=1e-4)


@pytest.mark.parametrize("conditional", [False, True])
def test_map_is_the_same_for_any_number_of_rows_in_a_block(conditional):
    values, _ = scene()
    values[4:6, 3:7] = np.nan
    model = small_model(ArrayCube(values), conditional=conditional)
    maps = [detect(model, ArrayCube(values, rows_per_block=rows)) for rows in (1, 2, 5, 100)]
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], rtol=1e-5)
    assert np.array_equal(np.isnan(maps[0]), np.isnan(values).any(axis=2))


@pytest.mark.parametrize("conditional", [False, True])
def test_training_is_the_same_for_any_number_of_rows_in_a_block(conditional):
    values, _ = scene()
    a, b = (small_model(ArrayCube(values, rows_per_block=rows), conditional=conditional, samples=50) for rows in (3, 100))
    assert a.loss_curve == b.loss_curve
    assert all(torch.equal(p, q) for p, q in zip(a.network.parameters(), b.network.parameters()))


def test_seed_decides_the_map():
    cube = ArrayCube(scene()[0])
    model = small_model(cube)
    assert np.array_equal(detect(model, cube, seed=3), detect(model, cube, seed=3))
    assert not np.array_equal(detect(model, cube, seed=3), detect(model, cube, seed=4))


def test_context_of_invalid_neighbours_has_no_part_in_the_map():
    values, _ = scene()
    valid = np.ones(values.shape[:2], dtype=bool)
    valid[5:9, 2:9] = False
    model = small_model(ArrayCube(values, valid), conditional=True)
    changed = values.copy()
    changed[~valid] = 1e6
    np.testing.assert_array_equal(detect(model, ArrayCube(changed, valid)), detect(model, ArrayCube(values, valid)))


@pytest.mark.parametrize("conditional", [False, True])
def test_anomalies_of_a_simple_scene_are_found(conditional):
    values, truth = scene(rows=20, columns=20)
    cube = ArrayCube(values)
    model = small_model(cube, epochs=20, learning_rate=1e-3, conditional=conditional)
    assert model.loss_curve[-1] < 0.5 * model.loss_curve[0]
    assert roc_auc_score(truth.ravel(), detect(model, cube, t=0.02, perturbations=20).ravel()) > 0.95


# Settings, state, errors.


def test_training_scales_by_the_range_of_the_valid_values_of_all_scenes():
    values, _ = scene()
    values[0, 0] = [np.nan] + [1e9] * 9
    model = PaperSGM.train([ArrayCube(values), ArrayCube(values[:5] - 100)], epochs=1, hidden=16)
    finite = values[np.isfinite(values).all(axis=2)]
    upper = values[:5][np.isfinite(values[:5]).all(axis=2)]
    assert (model.minimum, model.maximum) == pytest.approx((upper.min() - 100, finite.max()), rel=1e-6)


@pytest.mark.parametrize("conditional", [False, True])
def test_state_survives_a_file_that_is_loaded_without_executing_anything(conditional, tmp_path):
    cube = ArrayCube(scene()[0])
    model = small_model(cube, conditional=conditional, outer_window=7, sigma=4.0)
    (tmp_path / "model.pt").write_bytes(b"".join(encode(model.state())))
    loaded = PaperSGM.from_state(decode(tmp_path / "model.pt"))
    np.testing.assert_array_equal(detect(loaded, cube), detect(model, cube))
    assert loaded.loss_curve == model.loss_curve and loaded.sde.sigma == 4.0 and loaded.kind == "sgm-paper"


def test_unconditional_network_has_no_film_weights():
    assert not any("film" in name for name in ScoreUNet(5, 16).state_dict())
    assert {name for name in ScoreUNet(5, 16, conditional=True).state_dict() if "film" in name} == {"film1.weight", "film1.bias"}


@pytest.mark.parametrize(
    "cubes, message",
    [
        ([ArrayCube(np.ones((4, 4, 3)))], "nothing to learn"),
        ([ArrayCube(np.full((4, 4, 3), np.nan))], "no valid pixel"),
        ([ArrayCube(scene(bands=4)[0]), ArrayCube(scene(bands=5)[0])], "same number of bands"),
    ],
)
def test_scenes_that_cannot_be_trained_on_are_refused(cubes, message):
    with pytest.raises(ValueError, match=message):
        PaperSGM.train(cubes, epochs=1)


def test_scene_of_other_bands_and_impossible_width_are_refused():
    model = small_model(ArrayCube(scene(bands=10)[0]))
    with pytest.raises(ValueError, match="made for 10 bands; the scene has 4"):
        detect(model, ArrayCube(scene(bands=4)[0]))
    with pytest.raises(ValueError, match="t must be in 0..1"):
        detect(model, ArrayCube(scene(bands=10)[0]), t=0.0)
    with pytest.raises(ValueError, match="multiple of 8"):
        small_model(ArrayCube(scene()[0]), hidden=20)


def test_cancel_stops_training_and_detection_quickly():
    cube = ArrayCube(np.random.default_rng(0).random((60, 400, 50)))
    model = PaperSGM.train([cube], epochs=1, samples=64)

    def cancelled_after(work):
        start = time.process_time()  # what other programs take does not count

        def report(fraction, message):
            if time.process_time() - start > 0.5:
                raise Cancelled

        with pytest.raises(Cancelled):
            work(Progress(report))
        return (time.process_time() - start) / torch.get_num_threads()

    assert cancelled_after(lambda progress: PaperSGM.train([cube], progress=progress)) < 2
    assert cancelled_after(lambda progress: detect(model, cube, perturbations=100, progress=progress)) < 2


def test_progress_never_goes_back_and_ends_at_one():
    cube, fractions = ArrayCube(scene()[0], rows_per_block=4), []
    report = Progress(lambda fraction, message: fractions.append(fraction))
    model = small_model(cube, conditional=True, progress=report)
    assert fractions == sorted(fractions) and fractions[-1] == 1
    fractions.clear()
    detect(model, cube, progress=report)
    assert fractions == sorted(fractions) and fractions[-1] == 1
