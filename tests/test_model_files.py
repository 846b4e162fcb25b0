"""Model files: what is in them, that old ones load, and that none of a stranger's does harm."""

import io
import json
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import fuzz_models
import numpy as np
import old_models
import pytest
import torch
from conftest import DATA
from fuzz_models import limited_memory, same

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors import model_file
from scoread_qgis.detectors.fers.backbones import image_backbone, load_weights
from scoread_qgis.detectors.model_file import Model
from scoread_qgis.detectors.shared import tensor_file
from scoread_qgis.detectors.shared.tensor_file import encode
from scoread_qgis.detectors.shared.torch_archive import read_archive

KINDS = old_models.KINDS


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Kind -> `Model`."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: Model.load(old_models.write(kind, folder / f"{kind}.pt")) for kind in KINDS}


def detect(model, kind):
    options = {"perturbations": 10, "t": 0.3} if "paper" in kind else {}
    return np.concatenate([rows for _, rows in model.detector.detect(ArrayCube(old_models.scene()), **options)])


def header_and_data(path):
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


class TestOldFiles:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_model_of_version_0_2_gives_the_map_that_it_gave_then(self, kind, models):
        expected = old_models.expected_map(kind)
        np.testing.assert_allclose(detect(models[kind], kind), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        facts = {name: value for name, value in vars(models[kind]).items() if name != "detector"}
        if kind != "sgm":
            assert facts == {name: old_models.content(kind)[name] for name in facts}
        assert models[kind].band_numbers == {"numbers": list(range(1, 21)), "of": 24}

    @pytest.mark.parametrize("of_module", [False, True], ids=["parameters", "state dict"])
    def test_what_torch_save_writes_is_read_as_torch_load_does(self, tmp_path, of_module):
        base = torch.arange(60.0).reshape(3, 4, 5)
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
        values = {
            "views": {"a": base.permute(2, 0, 1), "b": base[1:, ::2, 2], "c": base.double(), "d": torch.tensor(7), "e": base.half()},
            "types": [torch.arange(5, dtype=kind) for kind in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.bfloat16)],
            "bool": torch.tensor([True, False]),
            "plain": [
                None,
                True,
                False,
                -1,
                0,
                255,
                256,
                65536,
                2**31,
                -(2**40),
                2**70,
                1.5,
                float("inf"),
                "é",
                "x" * 300,
                (),
                (1,),
                (1, 2, 3, 4),
            ],
            "many": list(range(2000)),
            "network": network.state_dict() if of_module else dict(network.named_parameters()),
        }
        torch.save(values, tmp_path / "a.pth")
        expected = torch.load(tmp_path / "a.pth", weights_only=True)
        read = read_archive(tmp_path / "a.pth")
        expected["network"] = {
            name: torch.Tensor(value.detach()) if value.is_floating_point() else value for name, value in expected["network"].items()
        }
        assert all(same(read[name], expected[name]) for name in expected if name != "plain") and list(read) == list(expected)
        assert read["plain"] == expected["plain"]

    @pytest.mark.needs_data
    def test_the_authors_weights_are_read_as_torch_load_does(self):
        path = DATA / "reference" / "scoread_hydice_weights.pth"
        expected = torch.load(path, map_location="cpu", weights_only=True)
        assert same(read_archive(path), dict(expected))

    def test_tensors_larger_than_their_numbers_are_refused(self, tmp_path):
        torch.save({"a": torch.zeros(1).expand(2**29)}, tmp_path / "a.pth")
        with limited_memory(2**28), pytest.raises(ValueError, match="larger than its numbers"):
            read_archive(tmp_path / "a.pth")
        numbers = torch.zeros(1000)
        torch.save({str(i): numbers.view(10, 100).T for i in range(100)}, tmp_path / "a.pth")
        with pytest.raises(ValueError, match="larger than its numbers"):
            read_archive(tmp_path / "a.pth")


class TestNewFiles:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_model_survives_its_file_bit_for_bit(self, kind, models, tmp_path):
        models[kind].save(tmp_path / "a.pt")
        loaded = Model.load(tmp_path / "a.pt")
        np.testing.assert_array_equal(detect(loaded, kind), detect(models[kind], kind))
        assert same({**vars(loaded), "detector": 0}, {**vars(models[kind]), "detector": 0})
        loaded.save(tmp_path / "b.pt")
        assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()

    def test_a_setting_is_not_taken_for_a_tensor(self, models, tmp_path):
        Model(models["sgm"].detector, 20, settings={"tensor": "sgm"}).save(tmp_path / "a.pt")
        assert Model.load(tmp_path / "a.pt").settings == {"tensor": "sgm"}

    @pytest.mark.parametrize("kind", KINDS)
    def test_safetensors_opens_it(self, kind, models, tmp_path):
        safetensors = pytest.importorskip("safetensors", reason="safetensors has no wheel for this Python")
        models[kind].save(tmp_path / "a.pt")
        with safetensors.safe_open(str(tmp_path / "a.pt"), framework="pt") as file:
            content = json.loads(file.metadata()["values"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
        assert content["format"] == "scoread_qgis model" and content["version"] == 2 and content["kind"] == models[kind].detector.kind
        assert content["wavelengths"] == models[kind].wavelengths
        state = models[kind].detector.state()
        for name, weight in state["weights"].items() if "weights" in state else state["spectral"].items():
            assert same(tensors[f"state.{'weights' if 'weights' in state else 'spectral'}.{name}"], weight.contiguous())

    def test_the_layout_is_the_published_one(self, models, tmp_path):
        models["sgm"].save(tmp_path / "a.pt")
        header, data = header_and_data(tmp_path / "a.pt")
        texts = header.pop("__metadata__")
        assert all(isinstance(text, str) for text in texts.values())
        end = 0
        for entry in header.values():
            assert entry["data_offsets"][0] == end
            end = entry["data_offsets"][1]
            assert end - entry["data_offsets"][0] == np.prod(entry["shape"]) * int(entry["dtype"][1:]) // 8
        assert end == len(data)
        place = header["state.centre"]["data_offsets"]
        np.testing.assert_array_equal(np.frombuffer(data[slice(*place)], "<f4"), models["sgm"].detector.centre.numpy())

    def test_a_flipped_bit_is_told_not_mapped(self, models, tmp_path):
        models["sgm"].save(tmp_path / "a.pt")
        whole = (tmp_path / "a.pt").read_bytes()
        for place in (*range(0, 8), *range(8, len(whole), len(whole) // 100), len(whole) - 2):
            (tmp_path / "a.pt").write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
            with pytest.raises(ValueError, match="a.pt is not a model of this plugin, or is damaged: .* Choose a file made by Train SGM"):
                Model.load(tmp_path / "a.pt")

    @pytest.mark.only_on("linux", "darwin")
    def test_a_disk_that_is_full_is_told(self, models, tmp_path):
        import resource

        (tmp_path / "a.pt").write_text("the model before")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(ValueError, match="model.* cannot be written.*File too large"):
                models["sgm"].save(tmp_path / "a.pt")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {"a.pt": "the model before"}

    def test_a_model_that_diverged_is_not_kept(self, tmp_path):
        model = Model.load(old_models.write("sgm-paper", tmp_path / "old.pt"))
        with torch.no_grad():
            model.detector.network.fc1.weight[0, 0] = torch.nan
        with pytest.raises(ValueError, match="training diverged: state.weights.fc1.weight .*smaller learning rate"):
            model.save(tmp_path / "a.pt")
        assert not (tmp_path / "a.pt").exists()


class TestStrangersFiles:
    @pytest.mark.parametrize("seed", range(3))
    def test_broken_and_forged_files_load_as_they_were_or_are_refused(self, seed, tmp_path):
        """A hundred each; `make fuzz` tries more."""
        assert list(fuzz_models.attack(tmp_path, 100, seed)) == []

    def test_the_attack_finds_a_reader_that_does_not_check(self, tmp_path, monkeypatch):
        class AlwaysRight(bytes):
            def __ne__(self, other):
                return False

        monkeypatch.setattr(tensor_file, "_checksum", lambda *parts: AlwaysRight(b"0" * 64))
        monkeypatch.setattr(zipfile.ZipExtFile, "_update_crc", lambda *arguments: None)
        found = [what for _, what, _ in fuzz_models.attack(tmp_path, 150, 0)]
        assert any("of a file" in what for what in found) and any("of an old file" in what for what in found)

    class Trap:
        def __init__(self, path):
            self.path = path

        def __reduce__(self):
            return (Path.touch, (self.path,))

    def files_that_run_code(self, tmp_path):
        trap = {"format": "scoread_qgis model", "version": 1, "kind": "sgm", "state": self.Trap(tmp_path / "executed")}
        content = pickle.dumps(trap, protocol=2)
        torch.save(trap, tmp_path / "zip.pt")
        torch.save(trap, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
        (tmp_path / "pickle.pt").write_bytes(content)
        (tmp_path / "pickle4.pt").write_bytes(pickle.dumps(trap, protocol=4))
        (tmp_path / "pickle0.pt").write_bytes(pickle.dumps(trap, protocol=0))
        with tarfile.open(tmp_path / "tar.pt", "w") as archive:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return {file.stem: file for file in tmp_path.glob("*.pt")}

    def test_none_runs_its_code_and_those_of_old_stay_unread(self, tmp_path):
        files = self.files_that_run_code(tmp_path)
        assert len(files) == 6
        networks = {"ResNet34": image_backbone(1)}
        for name, file in files.items():
            for read in (Model.load, lambda path: load_weights(networks, path)):
                legacy = name in ("old", "pickle", "pickle4", "tar")
                with pytest.raises(ValueError, match="not read.*save it again with PyTorch.*Choose" if legacy else "Choose"):
                    read(file)
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize(
        "opcodes", [b"cos\nsystem\n", b"cposix\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nload\n", b"\x82\x01", b"(ios\nsystem\n", b"\x93"]
    )
    def test_only_what_state_dicts_need_is_interpreted(self, opcodes, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + opcodes + b"(X\x04\x00\x00\x00truetR.")
        with pytest.raises(ValueError, match="which no state dict needs"):
            read_archive(tmp_path / "a.pth")

    def test_nothing_in_the_package_but_the_cluster_calls_torch_load(self):
        package = Path(model_file.__file__).parents[1]
        calls = {
            file.relative_to(package).as_posix() for file in package.rglob("*.py") if "torch.load(path" in file.read_text(encoding="utf-8")
        }
        assert calls <= {"cluster/tasks.py"}

    @pytest.mark.parametrize("backbone_weights", [{"conv1.weight": torch.zeros(1)}, [1, 2], {"conv1.weight": "text"}])
    def test_weights_that_are_none(self, backbone_weights, tmp_path):
        torch.save(backbone_weights, tmp_path / "a.pth")
        with pytest.raises(ValueError, match="fit neither network|no table of them"):
            load_weights({"ResNet34": image_backbone(1)}, tmp_path / "a.pth")

    def test_weights_that_are_not_finite(self, tmp_path):
        network = image_backbone(0)
        state = network.state_dict()
        torch.save({**state, "conv1.weight": state["conv1.weight"] * torch.nan}, tmp_path / "a.pth")
        with pytest.raises(ValueError, match="not finite, such as conv1.weight"):
            load_weights({"compact": network}, tmp_path / "a.pth")


def changed(kind, tmp_path, change):
    """A file of a model with some of its content changed, in the old layout, which any content fits into."""
    content = torch.load(old_models.write(kind, tmp_path / "old.pt"), weights_only=True)
    change(content)
    torch.save(content, tmp_path / "a.pt")
    return tmp_path / "a.pt"


NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("sgm", lambda c: c.pop("kind"), "lacks kind"),
        ("sgm", lambda c: c.pop("version"), "lacks version"),
        ("sgm", lambda c: c.update(version="1"), "its version is not a whole number"),
        ("sgm", lambda c: c.update(version=99), "newer version of the plugin"),
        ("sgm", lambda c: c.update(kind=["sgm"]), "kind of detector is unknown"),
        ("sgm", lambda c: c.update(kind="fers"), "its state lacks bands"),
        ("sgm", lambda c: c.update(more=1), "unknown entry, more"),
        ("sgm", lambda c: c.update(bands=21), "its bands is not a whole number from 20 to 20"),
        ("sgm", lambda c: c["wavelengths"].pop(), "wavelengths are not those of 20 bands"),
        ("sgm", lambda c: c["wavelengths"].__setitem__(3, NAN), "its wavelengths is not a finite number"),
        ("sgm", lambda c: c["band_numbers"].update(of=19), "does not name 20 of 19 bands"),
        ("sgm", lambda c: c["loss_curve"].__setitem__(3, "low"), "its loss_curve is not a finite number"),
        ("sgm", lambda c: c["settings"].update(steps=[1]), "settings are not a table of plain values"),
        ("sgm", lambda c: c.update(versions={"torch": 2.0}), "versions are not a table"),
        ("sgm", lambda c: c["state"].update(hidden=10**9), "its hidden is not a whole number from 1 to 100000"),
        ("sgm", lambda c: c["state"].update(hidden=90_000), r"spectral has the shape \(20, 32\) instead of \(20, 90000\)"),
        ("sgm", lambda c: c["state"]["scale"].zero_(), "scale holds values that are not positive"),
        ("sgm", lambda c: c["state"]["weights"]["score"].fill_(NAN), "its score holds values that are not finite: the training diverged"),
        ("sgm", lambda c: c["state"]["distances"].pop("features"), "distances lacks features"),
        ("sgm", lambda c: c["state"]["tails"]["score"]["logs"].neg_(), "do not rise"),
        ("sgm", lambda c: c["state"]["neighbours"].update(coordinates=torch.zeros(3, 2)), "coordinates is not a tensor of float64"),
        ("sgm-paper", lambda c: c["state"].update(bands=90_000), r"fc1.weight has the shape \(8, 20\) instead of \(8, 90000\)"),
        ("sgm-paper", lambda c: c["state"].update(hidden=9), r"fc1.weight has the shape"),
        ("sgm-paper", lambda c: c["state"].update(sigma=1.0), "sigma"),
        ("sgm-paper", lambda c: c["state"].update(sigma=NAN), "sigma is not a finite number"),
        ("sgm-paper", lambda c: c["state"].update(minimum=5.0, maximum=5.0), "minimum of 5.0 is not below its maximum"),
        ("sgm-paper", lambda c: c["state"].update(conditional=1), "whether its network is conditional"),
        ("sgm-paper", lambda c: c["state"].update(conditional=True), "lacks film1"),
        ("sgm-paper-conditional", lambda c: c["state"].update(outer_window=10**5 - 1), "wider than 999"),
        ("sgm-paper-conditional", lambda c: c["state"].update(inner_window=4), "windows must be odd"),
        ("fers", lambda c: c["state"].update(bands=90_000), r"feature.weight has the shape .* instead of \(90000, any, 1, 1\)"),
        ("fers", lambda c: c["state"].update(backbone=2), "backbone is not a whole number from 0 to 1"),
        ("fers", lambda c: c["state"]["spatial"]["backbone.bn1.running_var"].neg_(), "negative variances"),
        ("fers", lambda c: c["state"]["spectral"]["conv_h.weight"].fill_(NAN), "conv_h.weight holds values that are not finite"),
        ("fers", lambda c: c["state"]["losses"].append({}), "losses lack that of an epoch"),
    ],
)  # fmt: skip
def test_all_that_cannot_be_is_refused_before_it_is_used(kind, change, message, tmp_path):
    with limited_memory(2**29), pytest.raises(ValueError, match=f"a.pt .*{message}.*(Choose|Update)"):
        Model.load(changed(kind, tmp_path, change))


def test_a_small_file_cannot_ask_for_much(tmp_path, models):
    """The header of a file of a kilobyte that promises gigabytes, and a file of gigabytes with nothing on the disk."""
    parts = encode({"format": "scoread_qgis model", "a": torch.zeros(4)})
    header = parts[1].replace(b'"shape":[4],"data_offsets":[0,16]', b'"shape":[999999999],"data_offsets":[0,3999999996]')
    (tmp_path / "a.pt").write_bytes(fuzz_models.signed(len(header).to_bytes(8, "little") + header + bytes(16)))
    with limited_memory(2**28), pytest.raises(ValueError, match="header is wrong about"):
        Model.load(tmp_path / "a.pt")
    models["sgm"].save(tmp_path / "b.pt")
    shutil.copy(old_models.FOLDER / "sgm.pt", tmp_path / "c.pt")
    for name in ("b.pt", "c.pt"):
        with open(tmp_path / name, "r+b") as file:
            file.truncate(2**40)
        with limited_memory(2**28), pytest.raises(ValueError, match="larger than any"):
            Model.load(tmp_path / name)
