"""Create sample scene: a simulated hyperspectral scene with known anomalies, to try the plugin and to compare detectors."""

from qgis.core import QgsProcessingParameterFileDestination, QgsProcessingParameterRasterDestination

from ..styles import save_scene_style, save_truth_style
from ..workflows.parameters import SEED, SIMULATION
from .base import Algorithm
from .maps import style_map
from .parameters import add_settings, read_settings

OUTPUT, TRUTH, LIBRARY = "OUTPUT", "TRUTH", "LIBRARY"


class SampleScene(Algorithm):
    NAME = "sample_scene"
    TITLE = "Create sample scene"
    GROUP = "Scenes"
    TAGS = ("simulate", "synthetic", "test", "truth")
    HELP = (
        "Simulates a hyperspectral scene in reflectance: fields, trees, water, roads and roofs, mixed in the pixels, with varying "
        "illumination, sensor noise and bands that water vapour makes unusable. Anomalies of several materials and sizes are planted in "
        "it, some smaller than a pixel. For a first try, and to compare detectors where the ground truth is known."
    )
    NEEDS = ("scipy",)

    def declare(self):
        add_settings(self, *SIMULATION, SEED)
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "Scene"),
            "The scene as a GeoTIFF, Int16 with a scale, with wavelength, width and bad-band flag of each band.",
        )
        self.add(
            QgsProcessingParameterRasterDestination(TRUTH, "Ground truth", optional=True),
            "1 where an anomaly covers at least a tenth of the pixel, else 0. For evaluation; no detector reads it.",
        )

        self.add(
            QgsProcessingParameterFileDestination(LIBRARY, "Spectral library", "CSV files (*.csv)", optional=True, createByDefault=False),
            "The simulated reflectance spectra of the materials in such scenes, for Identify anomalies and Explain anomalies.",
        )

    def read(self, parameters, context):
        self.settings = read_settings(self, (*SIMULATION, SEED), parameters, context)
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        self.truth = self.parameterAsOutputLayer(parameters, TRUTH, context)
        self.library = self.parameterAsFileOutput(parameters, LIBRARY, context)

    def work(self, run):
        from osgeo import osr

        from ..scenes.simulated import simulate_scene, simulated_library
        from ..scenes.writer import write_scene
        from ..workflows.outputs import check_outputs, write_table

        check_outputs([(self.output, ".tif"), (self.truth, ".tif"), (self.library, ".csv")], [], run.scratch)
        run.progress(0.0, "simulating the scene")
        scene = simulate_scene(**self.settings)
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(scene.epsg)
        grid = {
            "geotransform": (scene.origin[0], scene.pixel_size, 0.0, scene.origin[1], 0.0, -scene.pixel_size),
            "crs": reference.ExportToWkt(),
        }
        write_scene(
            self.output, scene.cube, wavelengths=scene.wavelengths, fwhm=scene.fwhm, good=scene.good, scale=scene.scale,
            progress=run.progress.part(0.5, 1.0), **grid,
        )  # fmt: skip
        run.log(f"{int(scene.truth.sum())} of {scene.truth.size} pixels are anomalous; {int((~scene.good).sum())} bands are flagged bad.")
        results = {OUTPUT: self.output}
        if self.truth:
            write_scene(self.truth, scene.truth, descriptions=["truth"], **grid)
            results[TRUTH] = self.truth
        if self.library:
            wavelengths, spectra = simulated_library()
            rows = ([f"{each:.6g}" for each in row] for row in zip(wavelengths, *spectra.values()))
            write_table(self.library, ["wavelength (nm)", *spectra], rows)
            results[LIBRARY] = self.library
        return results

    def save_styles(self):
        self.style = save_scene_style(self.output, self.output in self.replaced)
        self.truth_style = save_truth_style(self.truth, self.truth in self.replaced) if self.truth else None

    def finish(self, context):
        style_map(self.output, context, self.style)
        style_map(self.truth, context, self.truth_style)
