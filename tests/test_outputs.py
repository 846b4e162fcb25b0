"""Files that are written: never over one that is read, with nothing of an older one left, and shown as they are."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from conftest import BUILT, LogFeedback, read
from osgeo import gdal, ogr

from scoread_qgis.commandline.main import main
from scoread_qgis.core import files
from scoread_qgis.core.files import check_place, remove_litter, scratch_folder, temporary_name, unfinished_file, whole_file
from scoread_qgis.scenes.input_files import check_apart, input_files
from scoread_qgis.scenes.writer import MapWriter, write_scene
from scoread_qgis.workflows.outputs import check_outputs

NEVER = "inputs are never changed"


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def translate(target, source, driver):
    gdal.Translate(str(target), str(source), format=driver)
    return str(target)


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "in" / "s.tif"
    write_scene(path, np.random.default_rng(0).random((20, 30, 10)).astype(np.float32), (10, 2, 0, 20, 0, -2))
    return path


class TestInputFiles:
    """An input is recognised through whatever wraps it."""

    @pytest.fixture
    def wrapped(self, scene, tmp_path):
        """Name -> connection string or path by which `scene` is read."""
        folder = tmp_path / "wrappers"
        folder.mkdir()
        (folder / "link.tif").symlink_to(scene)
        os.link(scene, folder / "hard.tif")
        vrt = translate(folder / "s.vrt", scene, "VRT")
        directory = f"GTIFF_DIR:1:{scene}"
        over_directory = translate(folder / "d.vrt", directory, "VRT")
        (folder / "by_text.vrt").write_text(
            Path(vrt).read_text(encoding="utf-8").replace("../in/s.tif", directory).replace('relativeToVRT="1"', "")
        )
        shutil.copy(vrt, folder / "named_as.tif")
        with zipfile.ZipFile(folder / "v.zip", "w") as archive:
            archive.writestr(
                "z.vrt", Path(vrt).read_text(encoding="utf-8").replace("../in/s.tif", str(scene)).replace('relativeToVRT="1"', "")
            )
        return {
            "path": str(scene), "symbolic link": str(folder / "link.tif"), "hard link": str(folder / "hard.tif"), "VRT": vrt,
            "VRT in VRT": translate(folder / "outer.vrt", vrt, "VRT"),
            "VRT in VRT in VRT": translate(folder / "o2.vrt", folder / "outer.vrt", "VRT"),
            "connection string": directory, "VRT of a connection string": over_directory, "written by hand": str(folder / "by_text.vrt"),
            "VRT by another suffix": str(folder / "named_as.tif"),
            "inline": Path(vrt).read_text(encoding="utf-8").replace("../in/s.tif", str(scene)),
            "vrt://": f"vrt://{scene}?bands=1,2", "of a layer": f"{scene}|option:OVERVIEW_LEVEL=0", "quoted": f'NETCDF:"{scene}":v',
            "URL": f"file://{quote(str(scene))}?type=csv", "VRT in an archive": f"/vsizip/{folder}/v.zip/z.vrt",
            "range of bytes": f"/vsisubfile/0_100000,{scene}",
        }  # fmt: skip

    def test_every_wrapper_is_seen_through(self, wrapped, scene):
        for what, source in wrapped.items():
            assert any(os.path.samefile(scene, file) for file in input_files(source)), what
            with pytest.raises(ValueError, match=NEVER):
                check_apart([str(scene)], [source])
            check_apart([str(scene.with_name("new.tif"))], [source])

    def test_archives_headers_and_sidecars_are_inputs(self, scene, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(scene, "deep/s.tif")
        assert str(tmp_path / "a.zip") in input_files(f"/vsizip/{tmp_path}/a.zip/deep/s.tif")
        image = translate(tmp_path / "e.img", scene, "ENVI")
        assert {os.path.basename(file) for file in input_files(image)} >= {"e.img", "e.hdr"}
        (mask := tmp_path / "out.tif.msk").write_bytes(scene.read_bytes())
        with pytest.raises(ValueError, match=NEVER):  # it would go with the old out.tif
            check_apart([str(tmp_path / "out.tif")], [str(mask)])

    def test_files_of_the_same_name_elsewhere_are_others(self, wrapped, tmp_path, monkeypatch):
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        Path("s.tif").write_text("an older result", encoding="utf-8")
        for source in wrapped.values():
            check_apart([os.path.abspath("s.tif"), "other.tif"], [source])

    def test_two_outputs_are_two_files(self, tmp_path):
        for one, other in (("a.csv", "a.csv"), ("a.csv", "../out/a.csv"), ("a.tif", "a.tif.msk")):
            with pytest.raises(ValueError, match="are the same file"):
                check_apart([str(tmp_path / "out" / one), str(tmp_path / "out" / other)], [])


class TestCheck:
    def test_nothing_is_touched(self, tmp_path, monkeypatch):
        """Names that could be guessed, and what they link to, stay as they are; not even folders are made."""
        (tmp_path / "precious").write_text("precious")
        (tmp_path / ".map.tif.trial").write_text("mine")
        (tmp_path / ".m.pt.trial").symlink_to(tmp_path / "precious")
        before = names(tmp_path)
        check_outputs([(tmp_path / "map.tif", ".tif"), (tmp_path / "m.pt", ".pt"), (tmp_path / "new" / "folder" / "m.html", ".html")], [])
        assert names(tmp_path) == before
        assert (
            (tmp_path / ".map.tif.trial").read_text(encoding="utf-8")
            == (tmp_path / "precious").read_text(encoding="utf-8").replace("precious", "mine")
            == "mine"
        )
        for taken in ("precious", ".m.pt.trial"):  # even if a unique name were not
            monkeypatch.setattr(files, "temporary_name", lambda path, taken=taken: str(tmp_path / taken))
            with pytest.raises(ValueError, match="cannot be written: File exists"):
                check_place(tmp_path / "map.tif", "map")
        assert (tmp_path / "precious").read_text(encoding="utf-8") == "precious"

    def test_unwritable(self, tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "folder.tif").mkdir()
        for path, message in (
            (tmp_path / "file" / "map.tif", "cannot be written.*Choose a folder"),
            (tmp_path / "folder.tif", "is a folder"),
            (tmp_path / "map.png", r"ends in \.tif"),
        ):
            with pytest.raises(ValueError, match=message):
                check_outputs([(path, ".tif")], [])


@pytest.fixture(scope="module")
def material(provider, sample, tmp_path_factory):
    """Name of a parameter, by algorithm where it differs -> its value, a file that is there."""
    import processing

    folder = tmp_path_factory.mktemp("material")
    made = {name: str(folder / name) for name in ("s.tif", "m.pt", "map.tif", "r.gpkg", "w.pth", "a.mat", "t.tif", "l.csv", "p.qpt")}
    shutil.copy(sample.path, made["s.tif"])
    write_scene(made["t.tif"], sample.truth.astype(np.uint8))
    processing.run("scoread:train_sgm", {"INPUT": sample.path, "SAMPLES": 300, "MODEL": made["m.pt"]})
    processing.run("scoread:detect_rx", {"INPUT": sample.path, "OUTPUT": made["map.tif"]})
    processing.run("scoread:threshold_anomalies", {"INPUT": made["map.tif"], "RATE": 0.02, "REGIONS": made["r.gpkg"]})
    shutil.copy(BUILT / "resources" / "report_template.qpt", made["p.qpt"])
    layer = (regions := gdal.OpenEx(made["r.gpkg"], gdal.OF_UPDATE)).GetLayer(0)
    layer.CreateField(ogr.FieldDefn("verdict", ogr.OFTString))
    for feature in layer:
        feature["verdict"] = "accepted"
        layer.SetFeature(feature)
    del feature, layer, regions
    Path(made["l.csv"]).write_text("Wavelength (nm),grass,soil\n400,0.1,0.2\n1000,0.4,0.3\n2500,0.2,0.35\n", encoding="utf-8")
    for name in ("w.pth", "a.mat"):
        Path(made[name]).write_bytes(b"something")
    return made


INPUTS = {
    "train_sgm": {"INPUT": "s.tif", "MASK": "r.gpkg", "MORE_INPUTS": ["map.tif"]},
    "train_fers": {"INPUTS": ["s.tif", "map.tif"], "BACKBONE_WEIGHTS": ["w.pth"]},
    "detect_anomalies": {"INPUT": "s.tif", "MODEL": "m.pt", "MASK": "t.tif"},
    "detect_rx": {"INPUT": "s.tif", "MASK": "r.gpkg"},
    "threshold_anomalies": {"INPUT": "map.tif"},
    "explain_anomalies": {"INPUT": "s.tif", "MODEL": "m.pt", "REGIONS": "r.gpkg", "LIBRARIES": ["l.csv"]},
    "identify_anomalies": {"INPUT": "s.tif", "REGIONS": "r.gpkg", "LIBRARIES": ["l.csv"], "FLAT_FIELD": "t.tif"},
    "find_similar": {"INPUT": "s.tif", "TARGETS": "r.gpkg", "LIBRARIES": ["l.csv"], "MASK": "t.tif", "MORE_INPUTS": ["map.tif"]},
    "report_anomalies": {"REGIONS": "r.gpkg", "INPUT": "s.tif", "MODEL": "m.pt", "TEMPLATE": "p.qpt"},
    "export_anomalies": {"REGIONS": "r.gpkg"},
    "evaluate_anomalies": {"INPUTS": ["map.tif", "t.tif"], "TRUTH": "r.gpkg"},
    "import_matlab": {"FILE": "a.mat"},
    "sample_scene": {},
}
ENDINGS = {"MODEL": ".pt", "REPORT": ".html", "PDF": ".pdf", "TABLE": ".csv", "SPECTRA": ".csv", "LIBRARY": ".csv", "REGIONS": ".gpkg"}
ENDINGS_OF = {"identify_anomalies": {"OUTPUT": ".gpkg"}, "export_anomalies": {"OUTPUT": ".gpkg"}}  # where they differ


def linked(path, folder, ending):
    """The file under another name: what is written there must not reach it, nor take its place."""
    (folder / f"alias{ending}").symlink_to(path)
    return str(folder / f"alias{ending}")


class TestEveryInputAgainstEveryOutput:
    def values(self, algorithm, made):
        """Parameters, and the file behind each input."""
        values = {
            name: [made[each] for each in value] if isinstance(value, list) else made[value] for name, value in INPUTS[algorithm].items()
        }
        return values, [path for value in values.values() for path in (value if isinstance(value, list) else [value])]

    @pytest.mark.parametrize("name", INPUTS)
    def test_algorithms(self, provider, material, tmp_path, name):
        """Both where a user starts it and where a model does, which does not check first."""
        from qgis.core import QgsProcessingContext, QgsProject

        algorithm = provider.algorithm(name)
        kinds = {"raster", "vector", "source", "layer", "multilayer", "file"}
        assert {each.name() for each in algorithm.parameterDefinitions() if each.type() in kinds} == set(INPUTS[name])
        values, paths = self.values(name, material)
        context = QgsProcessingContext()
        context.setProject(QgsProject.instance())
        endings = {**ENDINGS, **ENDINGS_OF.get(name, {})}
        outputs = [each.name() for each in algorithm.destinationParameterDefinitions() if each.type() != "folderDestination"]
        new = {each: str(tmp_path / f"new_{each}{endings.get(each, '.tif')}") for each in outputs}
        assert algorithm.checkParameterValues({**values, **new}, context)[0]
        before = {path: Path(path).read_bytes() for path in paths}
        for path in paths:
            for output in outputs:
                (folder := tmp_path / f"{os.path.basename(path)}_{output}").mkdir()
                asked = {**values, **new, output: linked(path, folder, endings.get(output, ".tif"))}
                fine, message = algorithm.checkParameterValues(asked, context)
                assert not fine, (path, output)
                assert NEVER in message, (path, output)
                feedback = LogFeedback()
                assert not algorithm.run(asked, context, feedback)[1]
                assert NEVER in "\n".join(feedback.lines), (path, output)
                assert names(folder) == [f"alias{endings.get(output, '.tif')}"]
        if len(outputs) > 1:
            for one, other in zip(outputs, outputs[1:]):
                if endings.get(one, ".tif") == endings.get(other, ".tif"):
                    assert "are the same file" in algorithm.checkParameterValues({**values, **new, one: new[other]}, context)[1]
        assert {path: Path(path).read_bytes() for path in paths} == before
        assert not [path for path in new.values() if os.path.exists(path)]

    @pytest.mark.parametrize(
        ("arguments", "outputs"),
        [
            (
                ["train", "s.tif", "--more-inputs", "map.tif", "--mask", "r.gpkg", "--model", "o.pt", "--report", "p.html"],
                ["o.pt", "p.html"],
            ),
            (["train-fers", "s.tif", "map.tif", "--backbone-weights", "w.pth", "--model", "o.pt"], ["o.pt"]),
            (
                ["detect", "s.tif", "--model", "m.pt", "--mask", "t.tif", "--output", "o.tif", "--report", "--overwrite"],
                ["o.tif", "o.html"],
            ),
            (["rx", "s.tif", "--mask", "r.gpkg", "--output", "o.tif", "--overwrite"], ["o.tif"]),
            (["rx", "s.tif", "map.tif", "--output", ".", "--overwrite"], ["s_rx.tif", "map_rx.tif"]),
        ],
    )
    def test_commands(self, material, tmp_path, monkeypatch, capsys, arguments, outputs):
        monkeypatch.chdir(tmp_path)
        given = [material.get(each, each) for each in arguments]
        paths = [path for path in given if path in material.values()]
        before = {path: Path(path).read_bytes() for path in paths}
        for path in paths:
            for output in outputs:
                os.symlink(path, output)
                assert main(given) != 0
                assert NEVER in capsys.readouterr().err, (path, output)
                assert names(tmp_path) == [output]
                os.remove(output)
        assert {path: Path(path).read_bytes() for path in paths} == before

    def test_the_scene_behind_a_virtual_raster(self, run, scene, tmp_path):
        from qgis.core import QgsProcessingException

        before, vrt = scene.read_bytes(), translate(tmp_path / "s.vrt", scene, "VRT")
        with pytest.raises(QgsProcessingException, match=NEVER):
            run("detect_rx", INPUT=vrt, OUTPUT=str(scene))
        assert main(["rx", vrt, "--output", str(scene), "--overwrite"]) == 2
        assert scene.read_bytes() == before

    def test_the_name_of_the_layer_stays(self, run, scene):
        """QGIS takes a result that is loaded already for the layer to give the output's name to."""
        from qgis.core import QgsProcessingException, QgsProject, QgsRasterLayer

        layer = QgsProject.instance().addMapLayer(QgsRasterLayer(str(scene), "my scene", "gdal"))
        with pytest.raises(QgsProcessingException, match=NEVER):
            run("detect_rx", INPUT=layer.id(), OUTPUT=str(scene))
        assert layer.name() == "my scene"
        QgsProject.instance().removeMapLayer(layer)


class TestReplacement:
    def test_nothing_of_the_old_map_is_left(self, run, scene, tmp_path):
        out = tmp_path / "out"
        path = str(out / "map.tif")
        run("detect_rx", INPUT=str(scene), OUTPUT=path)
        dataset = gdal.Open(path)  # read-only, so that overviews and statistics go to files of their own
        dataset.BuildOverviews("NEAREST", [2, 4])
        dataset.GetRasterBand(1).SetMetadataItem("of", "the old map")
        dataset = None
        assert names(out) == ["map.qml", "map.tif", "map.tif.aux.xml", "map.tif.ovr"]
        other = scene.with_name("other.tif")
        write_scene(other, np.random.default_rng(5).random((20, 30, 10)).astype(np.float32))
        run("detect_rx", INPUT=str(other), OUTPUT=path)
        assert names(out) == ["map.qml", "map.tif"]
        band = (dataset := gdal.Open(path)).GetRasterBand(1)
        assert band.GetOverviewCount() == 0
        assert band.GetMetadataItem("of") is None

    def test_all_is_back_where_the_new_file_cannot_get_its_name(self, tmp_path):
        (tmp_path / "a.tif").mkdir()  # a folder cannot be replaced by a file
        (tmp_path / "a.tif.ovr").write_text("overviews")
        with pytest.raises(ValueError, match="cannot be written"), unfinished_file(tmp_path / "a.tif", "map") as part:
            part.write_text("new")
        assert names(tmp_path) == ["a.tif", "a.tif.ovr"]
        assert (tmp_path / "a.tif.ovr").read_text(encoding="utf-8") == "overviews"

    def test_layers_show_the_new_file(self, run, scene, tmp_path):
        from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer

        path, regions = str(tmp_path / "map.tif"), str(tmp_path / "r.gpkg")
        run("detect_rx", INPUT=str(scene), OUTPUT=path)
        run("threshold_anomalies", INPUT=path, METHOD=1, PERCENTILE=99, REGIONS=regions)
        translate(tmp_path / "v.vrt", path, "VRT")
        project = QgsProject.instance()
        layer, virtual = (project.addMapLayer(QgsRasterLayer(file, "map", "gdal")) for file in (path, str(tmp_path / "v.vrt")))
        outlines = project.addMapLayer(QgsVectorLayer(f"{regions}|layername=r", "regions", "ogr"))

        def shown(layer):
            provider = layer.dataProvider()
            block = provider.block(1, provider.extent(), provider.xSize(), provider.ySize())
            return np.array([[block.value(row, column) for column in range(block.width())] for row in range(block.height())])

        def features():
            return outlines.featureCount(), len(list(outlines.getFeatures())), outlines.extent().width()

        np.testing.assert_array_equal(shown(layer), old := read(path))
        before = features()
        for seed, shape in ((1, (20, 30, 10)), (2, (25, 40, 10))):  # the second one on another grid
            write_scene(tmp_path / f"{seed}.tif", np.random.default_rng(seed).random(shape).astype(np.float32), (10, 2, 0, 20, 0, -2))
            run("detect_rx", INPUT=str(tmp_path / f"{seed}.tif"), OUTPUT=path)
            assert not np.array_equal(old, read(path))
            np.testing.assert_array_equal(shown(layer), read(path))
            if seed == 1:
                np.testing.assert_array_equal(shown(virtual), read(path))
        assert layer.extent().width() == 80
        run("threshold_anomalies", INPUT=path, METHOD=1, PERCENTILE=90, REGIONS=regions)
        after = features()
        with sqlite3.connect(regions) as file:
            assert file.execute("SELECT count(*) FROM r").fetchone() * 2 == after[:2]
        assert after[0] > before[0]
        assert after[2] > before[2]
        for each in (layer, virtual, outlines):
            project.removeMapLayer(each)


class TestStyleBeside:
    """Files of one name, such as a.img and a.tif, share a .qml."""

    def detect(self, scene, path):
        """The style that the result has once it is loaded, by the class of its renderer."""
        import processing
        from qgis.core import QgsProject

        results = processing.runAndLoadResults("scoread:detect_rx", {"INPUT": str(scene), "OUTPUT": str(path)}, feedback=LogFeedback())
        (layer,) = [each for each in QgsProject.instance().mapLayers().values() if each.source() == results["OUTPUT"]]
        renderer = layer.renderer().type()
        QgsProject.instance().removeMapLayer(layer)
        return renderer

    @pytest.mark.parametrize("style", ["<qgis>of the user</qgis>", "<qgis><rasterrenderer/></qgis>", None])
    def test_that_of_another_raster_is_kept_and_none_is_made_for_it(self, provider, scene, tmp_path, style):
        translate(tmp_path / "base2.img", scene, "ENVI")
        if style:
            (tmp_path / "base2.qml").write_text(style)
        for _ in range(2):
            assert self.detect(scene, tmp_path / "base2.tif") == "singlebandpseudocolor"
            assert (tmp_path / "base2.qml").exists() == bool(style)
        assert not style or (tmp_path / "base2.qml").read_text(encoding="utf-8") == style

    def test_that_of_a_vector_file_is_kept(self, provider, scene, material, tmp_path):
        shutil.copy(material["r.gpkg"], tmp_path / "fields.gpkg")
        (tmp_path / "fields.qml").write_text("<qgis><renderer-v2/></qgis>")
        for _ in range(2):
            assert self.detect(scene, tmp_path / "fields.tif") == "singlebandpseudocolor"
            assert (tmp_path / "fields.qml").read_text(encoding="utf-8") == "<qgis><renderer-v2/></qgis>"

    def test_that_of_the_map_is_replaced_with_it(self, provider, scene, tmp_path):
        path = tmp_path / "map.qml"
        self.detect(scene, tmp_path / "map.tif")

        def style():  # the rest has ids and colours of profiles that newer QGIS draws at random
            return re.search("<rastershader>.+</rastershader>", path.read_text(encoding="utf-8"), re.DOTALL).group()

        first, first_style = path.read_text(encoding="utf-8"), style()
        write_scene(tmp_path / "other.tif", np.random.default_rng(5).random((20, 30, 10)).astype(np.float32))
        self.detect(tmp_path / "other.tif", tmp_path / "map.tif")
        assert (second := style()) != first_style
        path.write_text(first.replace("scoread_qgis/style", "none"), encoding="utf-8")  # as before version 0.3
        self.detect(tmp_path / "other.tif", tmp_path / "map.tif")
        assert style() == second


class TestFaults:
    def test_the_folder_is_removed_in_the_middle(self, tmp_path, scene):
        from scoread_qgis.scenes.raster import RasterFile

        raster, out = RasterFile(str(scene)), tmp_path / "out"
        with (
            pytest.raises(ValueError, match=r"map\.tif cannot be written.*(removed|Choose)"),
            MapWriter(out / "map.tif", raster, "s") as writer,
        ):
            writer.write(0, np.ones((20, 30), np.float32))
            shutil.rmtree(out)
        with (
            pytest.raises(ValueError, match="The model .* cannot be written: No such file.*removed"),
            whole_file(out / "m.pt", "model") as part,
        ):
            part.write_text("")
            shutil.rmtree(out)

    def test_what_the_detector_raises_is_not_taken_for_a_fault_of_the_file(self, tmp_path, scene):
        from scoread_qgis.scenes.raster import RasterFile

        for error in (RuntimeError("out of memory"), OSError("the scene is gone")):
            with pytest.raises(type(error), match=str(error)), MapWriter(tmp_path / "map.tif", RasterFile(str(scene)), "s"):
                raise error
        assert names(tmp_path) == ["in"]

    def limited(self, code, folder):
        """Lines that code prints which cannot make files larger than 20 kB; that stands for a full disk."""
        setup = f"""
            import resource, signal, sys, tempfile
            sys.path[:0] = {sys.path!r}
            import numpy as np
            from osgeo import gdal, ogr
            from scoread_qgis.workflows import outputs, sources
            folder = {str(folder)!r}
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        """
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        code = textwrap.dedent(setup) + textwrap.dedent(code).replace("LIMIT\n", limit)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @pytest.mark.only_on("linux", "darwin")
    def test_the_disk_is_full_while_a_model_is_saved(self, tmp_path):
        said = self.limited(
            """
            import torch
            from scoread_qgis.core.files import whole_file
            LIMIT
            try:
                with whole_file(folder + "/m.pt", "model") as part:
                    torch.save({"weights": torch.ones(100_000)}, part)
            except ValueError as error:
                print(error)
            """,
            tmp_path,
        )
        assert f"The model {tmp_path}/m.pt cannot be written" in said
        assert "Is the disk full?" in said
        assert "enforce" not in said
        assert names(tmp_path) == []

    @pytest.mark.only_on("linux", "darwin")
    def test_the_temporary_folder_is_full(self, tmp_path):
        write_scene(tmp_path / "s.tif", np.random.default_rng(0).random((400, 400, 2)).astype(np.float32))
        write_scene(tmp_path / "m.tif", np.random.default_rng(0).random((400, 400)).astype(np.float32))
        said = self.limited(
            """
            gdal.SetCacheMax(200_000)
            LIMIT
            raster = sources.RasterSource(folder + "/s.tif").open()
            try:
                sources.MaskSource.of_file(folder + "/m.tif").on(raster, scratch=folder + "/tmp")
            except ValueError as error:
                print(error)
            """,
            tmp_path if (tmp_path / "tmp").mkdir() is None else None,
        )
        assert "which takes a file in" in said
        assert "Is the disk full?" in said
        assert names(tmp_path / "tmp") == []

    def test_no_temporary_folder(self, tmp_path):
        with pytest.raises(ValueError, match="No temporary folder can be created in .*nowhere.*another folder"):
            scratch_folder("mask", str(tmp_path / "nowhere"))


class TestLitter:
    def left_by(self, folder, scratch, kill):
        """A process that has an unfinished file in one folder and a mask in the other."""
        code = f"""
            import sys, time
            sys.path[:0] = {sys.path!r}
            from scoread_qgis.core.files import temporary_name, scratch_folder
            folders = [scratch_folder(what, {str(scratch)!r}) for what in ("mask", "regions")]
            for ending in ("", ".gpkg", ".gpkg-journal"):
                open(temporary_name({str(folder / "map.tif")!r}) + ending, "w").close()
            print("ready", flush=True)
            time.sleep(600)
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        if kill:
            process.kill()
            process.wait()
        return process

    def test_what_killed_runs_left_is_removed_by_the_next_of_anything(self, tmp_path, scene, sample):
        out, scratch = tmp_path / "out", tmp_path / "tmp"
        out.mkdir(), scratch.mkdir()
        (out / ".mine.part").write_text("of the user")
        (scratch / "scoreboard").mkdir()
        running = self.left_by(out, scratch, kill=False)
        kept = names(out), names(scratch)
        self.left_by(out, scratch, kill=True)
        assert (len(names(out)), len(names(scratch))) == (len(kept[0]) + 3, len(kept[1]) + 2)
        check_outputs([(out / "else.html", ".html")], [], str(scratch))
        assert (names(out), names(scratch)) == kept, "what runs is left alone"
        running.kill()
        running.wait()
        check_outputs([(out / "else.html", ".html")], [], str(scratch))
        assert (names(out), names(scratch)) == ([".mine.part"], ["scoreboard"])

    def test_what_another_machine_left_is_removed_after_a_week(self, tmp_path, monkeypatch):
        with monkeypatch.context() as there:
            there.setattr(files, "_machine", lambda: "0123abcd")
            Path(temporary_name(tmp_path / "map.tif")).touch()
            (shared := Path(temporary_name(tmp_path / "map.tif", owned=False))).mkdir()  # of a cluster, or of version 0.2
            (shared / "rows_0.npy").touch()
        remove_litter([tmp_path], str(tmp_path))
        assert len(names(tmp_path)) == 2
        for path in tmp_path.iterdir():
            os.utime(path, (time.time() - 8 * 24 * 3600,) * 2)
        remove_litter([tmp_path], str(tmp_path))
        assert names(tmp_path) == []

    def test_a_process_with_the_number_of_one_that_is_gone(self, tmp_path, monkeypatch):
        with monkeypatch.context() as before:
            before.setattr(files, "_start", lambda process: ("S", "12"))
            Path(temporary_name(tmp_path / "map.tif")).touch()
        Path(temporary_name(tmp_path / "mine.tif")).touch()
        remove_litter([tmp_path], str(tmp_path))
        (left,) = names(tmp_path)
        assert left.startswith(".mine.tif")

    def test_links_are_not_followed(self, tmp_path, monkeypatch):
        (precious := tmp_path / "precious").mkdir()
        (precious / "data").write_text("data")
        monkeypatch.setattr(files, "_is_running", lambda process, start: False)
        os.symlink(precious, temporary_name(tmp_path / "map.tif"))
        os.symlink(precious, tmp_path / f"scoread_mask_{files._owner()}_x")
        remove_litter([tmp_path], str(tmp_path))
        assert names(precious) == ["data"]
