"""Import MATLAB scene: a cube of a .mat file as a GeoTIFF, with the ground truth of a benchmark where there is one."""

from pathlib import Path

from qgis.core import QgsProcessingParameterFile, QgsProcessingParameterRasterDestination, QgsProcessingParameterString

from ..styles import save_scene_style, save_truth_style
from .base import Algorithm
from .maps import style_map

FILE, CUBE, MAP, OUTPUT, TRUTH = "FILE", "CUBE", "MAP", "OUTPUT", "TRUTH"


class ImportMatlab(Algorithm):
    NAME = "import_matlab"
    TITLE = "Import MATLAB scene"
    GROUP = "Scenes"
    TAGS = ("mat", "benchmark", "truth", "import")
    HELP = (
        "Turns a hyperspectral scene in a MATLAB file, the format of the field's benchmarks, into a GeoTIFF. Reads files of version 5 to "
        "7.3. Finds the cube and the ground truth by itself where the file has one of each."
    )
    NEEDS = ("scipy",)

    def declare(self):
        self.add(
            QgsProcessingParameterFile(FILE, "MATLAB file", extension="mat"),
            "The .mat file. It holds the scene as an array of rows × columns × bands.",
        )
        self.add(
            QgsProcessingParameterString(CUBE, "Variable of the scene", optional=True),
            "Name of the array of rows × columns × bands. Needed only where the file has several.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString(MAP, "Variable of the ground truth", optional=True),
            "Name of the array of rows × columns that marks the anomalies. Needed only where the file has several.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "Scene"),
            "The scene as a GeoTIFF with one band for each spectral band, and wavelengths where the file has them.",
        )
        self.add(
            QgsProcessingParameterRasterDestination(TRUTH, "Ground truth", optional=True, createByDefault=False),
            "1 for anomalies, 0 for the background, for evaluation. Not written where the file has no such map.",
        )

    def read(self, parameters, context):
        self.file = self.parameterAsFile(parameters, FILE, context)
        self.cube_name = self.parameterAsString(parameters, CUBE, context) or None
        self.map_name = self.parameterAsString(parameters, MAP, context) or None
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        self.truth = self.parameterAsOutputLayer(parameters, TRUTH, context)

    def work(self, run):
        from ..scenes.matlab import read_matlab
        from ..scenes.writer import write_scene
        from ..workflows.outputs import check_outputs

        check_outputs([(self.output, ".tif"), (self.truth, ".tif")], [self.file], run.scratch)
        if not Path(self.file).is_file():
            raise ValueError(f"There is no file {self.file}.")
        run.progress(0.0, f"reading {Path(self.file).name}")
        scene = read_matlab(self.file, self.cube_name, self.map_name)
        run.log(
            "Found " + ", ".join(f"{use}: {name}" for use, name in scene.names.items()) + f"; {' × '.join(map(str, scene.cube.shape))}."
        )
        write_scene(self.output, scene.cube, wavelengths=scene.wavelengths, progress=run.progress.part(0.3, 1.0))
        results = {OUTPUT: self.output}
        self.has_truth = scene.truth is not None
        if self.truth and not self.has_truth:
            run.log("The file has no ground truth; none is written.")
        elif self.truth:
            write_scene(self.truth, scene.truth, descriptions=["truth"])
            results[TRUTH] = self.truth
        return results

    def save_styles(self):
        self.style = save_scene_style(self.output, self.output in self.replaced)
        wanted = self.truth and self.has_truth
        self.truth_style = save_truth_style(self.truth, self.truth in self.replaced) if wanted else None

    def finish(self, context):
        style_map(self.output, context, self.style)
        style_map(self.truth, context, self.truth_style)
        if self.truth and not self.has_truth:  # or QGIS would complain that it cannot load it
            layers = context.layersToLoadOnCompletion()
            layers.pop(self.truth, None)
            context.setLayersToLoadOnCompletion(layers)
