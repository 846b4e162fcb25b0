"""FERS: training, streaming detection, model state, published layouts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors.fers import FERS, READOUTS, detector
from scoread_qgis.detectors.fers.backbones import image_backbone, load_weights, random_weights, teacher_encoder
from scoread_qgis.detectors.fers.scaling import SceneScaling
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.detectors.shared.mirroring import mirrored
from scoread_qgis.detectors.shared.tensor_file import decode, encode


def scene(rows=70, columns=45, bands=9, seed=0):
    """Smooth materials and some noise, with a few odd pixels."""
    random = np.random.default_rng(seed)
    endmembers = random.random((3, bands)) * 3000
    y, x = np.mgrid[:rows, :columns]
    shares = np.stack([np.sin(y / 9 + seed) + 1, np.cos(x / 7) + 1, np.ones_like(x)], 2)
    values = shares / shares.sum(2, keepdims=True) @ endmembers + random.normal(size=(rows, columns, bands)) * 20
    values[20:22, 30:32] += random.random(bands) * 2000
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return FERS.train([ArrayCube(scene(seed=s)) for s in (1, 2)], patch=32, epochs=3, batch=4)


def collect(parts):
    return np.concatenate([scores for _, scores in parts])


def test_training_lowers_the_loss_and_the_detector_finds_the_odd_pixels(model):
    assert len(model.loss_curve) == 6 and np.isfinite(model.loss_curve).all()
    assert model.loss_curve[2] < model.loss_curve[0] and model.loss_curve[5] < model.loss_curve[3]
    scores = collect(model.detect(ArrayCube(scene())))
    assert scores.shape == (70, 45) and scores.dtype == np.float32
    assert (scores[20:22, 30:32].min() > np.delete(scores.ravel(), [r * 45 + c for r in (20, 21) for c in (30, 31)])).mean() > 0.99


def test_default_readout_is_that_of_the_paper_by_band_count(model):
    cube = ArrayCube(scene())
    np.testing.assert_array_equal(collect(model.detect(cube)), collect(model.detect(cube, readout="product")))
    many = ArrayCube(scene(40, 40, 51))
    wide = FERS.train([many], patch=16, epochs=0)
    np.testing.assert_array_equal(collect(wide.detect(many)), collect(wide.detect(many, readout="sum")))


@pytest.mark.parametrize("readout", READOUTS)
def test_same_map_for_any_block_size(model, readout, monkeypatch):
    """With holes, and with strips smaller than the blocks, so that every boundary there is moves."""
    values, valid = scene(170, 45), np.random.default_rng(2).random((170, 45)) > 0.1
    expected = collect(model.detect(ArrayCube(values, valid, rows_per_block=170), readout=readout))
    assert np.array_equal(np.isfinite(expected), valid)
    monkeypatch.setattr(detector, "STRIP", 45 * 20)
    for rows_per_block in (1, 33, 64):
        actual = collect(model.detect(ArrayCube(values, valid, rows_per_block=rows_per_block), readout=readout))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.nanmax(expected))


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 60), columns=st.integers(1, 40), rows_per_block=st.integers(1, 60))
def test_features_equal_those_of_the_networks_on_the_whole_scene(model, rows, columns, rows_per_block):
    cube = ArrayCube(scene(60, 40)[:rows, :columns], rows_per_block=rows_per_block)
    if rows * columns < 2:
        return
    context = model.scene(cube)
    strips = [model.features(block, context) for block in cube.blocks(model.spectral.halo)]
    x, f_spe, f_spa = (torch.cat(parts) for parts in zip(*strips))
    values, valid = cube.read(0, rows)
    image = torch.from_numpy(context.scaling(values, valid)).permute(2, 0, 1)[None]
    i, j = (torch.from_numpy(mirrored(np.arange(-4, size + 4), size)) for size in (rows, columns))
    with torch.no_grad():
        spectral = model.spectral(image[:, :, i][..., j])[..., 4:-4, 4:-4]
        spatial = model.spatial(image)
    for actual, whole in ((x, image), (f_spe, spectral), (f_spa, spatial)):
        torch.testing.assert_close(actual, whole[0].permute(1, 2, 0).flatten(0, 1), rtol=1e-3, atol=1e-5)


def test_reach_of_the_image_backbone():
    """A feature depends on the pixels within `reach` of its own and on no others."""
    for backbone in (0, 1):
        network = random_weights(image_backbone(backbone), torch.Generator().manual_seed(0)).eval().double()
        image = torch.rand(1, 3, 16, 1024, dtype=torch.float64)
        changed = image.clone()
        changed[..., 512] += 1
        with torch.no_grad():
            moved = (network(image)[2] != network(changed)[2]).any(2).any(1)[0].nonzero()[:, 0] * network.stride
        assert (moved - 512).abs().max() <= network.reach
        assert (moved - 512).abs().max() > network.reach - network.stride


def test_invalid_pixels_have_no_influence(model):
    values, valid = scene(), np.random.default_rng(3).random((70, 45)) > 0.2
    other = values.copy()
    other[~valid] = np.nan
    for readout in READOUTS:
        maps = [collect(model.detect(cube, readout=readout)) for cube in (ArrayCube(values, valid), ArrayCube(other))]
        np.testing.assert_array_equal(*maps)
    holes = [ArrayCube(np.where(valid[..., None], v, value)) for v, value in ((scene(seed=1), np.nan), (scene(seed=1), np.inf))]
    first, second = (FERS.train([cube], patch=32, epochs=1, batch=4) for cube in holes)
    assert first.loss_curve == second.loss_curve


def test_state_round_trip(model, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"".join(encode(model.state())))
    restored = FERS.from_state(decode(tmp_path / "model.pt"))
    cube = ArrayCube(scene())
    np.testing.assert_array_equal(collect(restored.detect(cube)), collect(model.detect(cube)))
    assert restored.loss_curve == model.loss_curve and restored.kind == "fers"


def test_the_seed_decides(model):
    cubes = [ArrayCube(scene(seed=s)) for s in (1, 2)]
    before = torch.get_rng_state()
    assert FERS.train(cubes, patch=32, epochs=3, batch=4).loss_curve == model.loss_curve
    assert torch.equal(before, torch.get_rng_state())
    assert FERS.train(cubes, patch=32, epochs=1, batch=4, seed=1).loss_curve[0] != model.loss_curve[0]
    cube = ArrayCube(scene())
    maps = [collect(model.detect(cube, readout="autoencoder", seed=s)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


@pytest.mark.parametrize("limit, epochs_done", [(0.02, None), (0.3, 1), (0.8, 3)])
def test_cancel_hands_over_what_is_trained(limit, epochs_done):
    fractions, kept = [], []

    def report(fraction, message):
        fractions.append(fraction)
        if fraction >= limit:
            raise Cancelled

    with pytest.raises(Cancelled):
        FERS.train([ArrayCube(scene())], patch=32, epochs=2, batch=4, progress=Progress(report), on_checkpoint=kept.append)
    assert fractions == sorted(fractions)
    if epochs_done is None:
        assert not kept  # nothing is trained yet
    else:
        assert len(kept[0].loss_curve) == epochs_done
        assert np.isfinite(collect(kept[0].detect(ArrayCube(scene())))).all()


@pytest.mark.parametrize("readout", READOUTS)
def test_detection_reports_and_cancels(model, readout):
    fractions = []
    progress = Progress(lambda fraction, message: fractions.append(fraction))
    list(model.detect(ArrayCube(scene(), rows_per_block=5), readout=readout, progress=progress))
    assert fractions == sorted(fractions) and fractions[-1] == 1

    def stop(fraction, message):
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(model.detect(ArrayCube(scene()), readout=readout, progress=Progress(stop)))


def test_scaling():
    values = scene(8, 7, 3)
    valid = np.ones((8, 7), bool)
    valid[2, 3] = False
    values[2, 3] = 1e30
    scaling = SceneScaling(ArrayCube(values, valid, rows_per_block=3))
    scaled = scaling(values, valid)
    assert scaled[valid].min() == pytest.approx(-0.1) and scaled[valid].max() == pytest.approx(0.1)
    np.testing.assert_allclose(scaled[2, 3], scaled[valid].mean(0), rtol=1e-4)
    assert mirrored(np.arange(-5, 7), 3).tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]


def test_messages(model):
    cube = ArrayCube(scene())
    with pytest.raises(ValueError, match="FERS model has 9 bands, the scene 4"):
        list(model.detect(ArrayCube(scene(bands=4))))
    with pytest.raises(ValueError, match="unknown readout best"):
        list(model.detect(cube, readout="best"))
    with pytest.raises(ValueError, match="no valid pixel"):
        list(model.detect(ArrayCube(np.full((9, 9, 9), np.nan))))
    with pytest.raises(ValueError, match="all values of the scene are 3"):
        list(model.detect(ArrayCube(np.full((9, 9, 9), 3.0))))
    with pytest.raises(ValueError, match="different numbers of bands: 9, 4"):
        FERS.train([cube, ArrayCube(scene(bands=4))])
    with pytest.raises(ValueError, match="multiple of 16; this is 20"):
        FERS.train([cube], patch=20)
    with pytest.raises(ValueError, match="weight files are for the published backbone"):
        FERS.train([cube], backbone_weights=["resnet34.pt"])


def torchvision_layout(name):
    """Names and shapes of the weights of ResNet34 and Wide-ResNet-101-2 in torchvision, layers 1-3, written down independently."""
    shapes = {}

    def norm(key, size):
        shapes.update({f"{key}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{key}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (64, 3, 7, 7)
    norm("bn1", 64)
    blocks, inputs = ((3, 4, 6), 64) if name == "resnet34" else ((3, 4, 23), 64)
    for layer, (count, planes) in enumerate(zip(blocks, (64, 128, 256)), 1):
        for block in range(count):
            key = f"layer{layer}.{block}"
            if name == "resnet34":
                convolutions, outputs = [(planes, inputs, 3), (planes, planes, 3)], planes
            else:
                convolutions, outputs = [(2 * planes, inputs, 1), (2 * planes, 2 * planes, 3), (4 * planes, 2 * planes, 1)], 4 * planes
            for i, (out, into, size) in enumerate(convolutions, 1):
                shapes[f"{key}.conv{i}.weight"] = (out, into, size, size)
                norm(f"{key}.bn{i}", out)
            if block == 0 and inputs != outputs:
                shapes[f"{key}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                norm(f"{key}.downsample.1", outputs)
            inputs = outputs
    return shapes


@pytest.mark.parametrize("name, network", [("resnet34", image_backbone(1)), ("wide_resnet101_2", teacher_encoder(1))])
def test_published_backbones_have_the_layout_of_torchvision(name, network):
    expected = torchvision_layout(name)
    if name == "wide_resnet101_2":  # the teacher has no stem
        expected = {key: shape for key, shape in expected.items() if key.startswith("layer")}
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == expected
    # the published parameter counts of the whole networks, less layer 4, the classifier (and the stem)
    parameters = sum(p.numel() for p in network.parameters())
    whole, rest = {"resnet34": (21_797_672, 13_114_368 + 513_000), "wide_resnet101_2": (126_886_696, 41_971_712 + 2_049_000 + 9_536)}[name]
    assert parameters == whole - rest


def weight_file(path, name, **changes):
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(shape, generator=generator) / np.sqrt(np.prod(shape[1:]))
        if len(shape) == 4
        else torch.rand(shape, generator=generator) + 0.5
        for key, shape in torchvision_layout(name).items()
        if shape
    }
    state["fc.weight"] = torch.zeros(1000, 8)
    state.update(changes)
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    return state


def test_weight_files_load_into_the_network_they_fit(tmp_path):
    frozen = {"Wide-ResNet-101-2": teacher_encoder(1), "ResNet34": image_backbone(1)}
    for name, network in zip(("wide_resnet101_2", "resnet34"), frozen.values()):
        state = weight_file(tmp_path / "weights.pth", name)
        assert not network.pretrained
        load_weights(frozen, tmp_path / "weights.pth")
        assert network.pretrained and not network.train().training  # its statistics stay as they are
        for key, value in network.state_dict().items():
            assert key.endswith("num_batches_tracked") or torch.equal(value, state[key])

    missing = {f"layer2.{i}.conv1.weight": None for i in range(2)}
    weight_file(tmp_path / "weights.pth", "resnet34", **missing)
    with pytest.raises(ValueError, match=r"ResNet34: 2 of \d+ weights are missing, such as layer2.0.conv1.weight"):
        load_weights(frozen, tmp_path / "weights.pth")
    weight_file(tmp_path / "weights.pth", "resnet34", **{"conv1.weight": torch.zeros(64, 4, 7, 7)})
    with pytest.raises(ValueError, match=r"ResNet34: 1 .* another shape, such as conv1.weight \(64, 4, 7, 7\) instead of \(64, 3, 7, 7\)"):
        load_weights(frozen, tmp_path / "weights.pth")


def test_published_size_trains_from_a_weight_file_and_detects(tmp_path):
    state = weight_file(tmp_path / "resnet34.pth", "resnet34")
    cube = ArrayCube(scene(40, 40, 5))
    model = FERS.train([cube], patch=16, epochs=1, batch=2, backbone=1, backbone_weights=[tmp_path / "resnet34.pth"])
    assert torch.equal(model.spatial.backbone.layer3[5].bn2.running_mean, state["layer3.5.bn2.running_mean"])
    assert np.isfinite(collect(model.detect(cube))).all()
    assert torch.equal(FERS.from_state(model.state()).spatial.backbone.conv1.weight, state["conv1.weight"])


def test_cost_of_detection_is_bounded_by_that_of_rx():
    """Ten times the operations of a global RX at most. Its time is measured in benchmarks/fers_transfer.py."""
    from torch.utils.flop_counter import FlopCounterMode

    cube = ArrayCube(scene(100, 100, 188))
    model = FERS.train([cube], epochs=0)

    def operations(detector):
        with FlopCounterMode(display=False) as counter:
            collect(detector.detect(cube))
        return counter.get_total_flops()

    of_rx = operations(GlobalRX())
    assert of_rx >= 2 * 100 * 100 * 188**2
    assert operations(model) < 10 * of_rx
