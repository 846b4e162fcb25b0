"""Create sample scene: a simulated hyperspectral scene with known anomalies, to try the plugin and to compare detectors."""

from qgis.core import QgsProcessingParameterNumber, QgsProcessingParameterRasterDestination

from .base import Algorithm
from .inputs import SEED, seed_parameter

ROWS, COLUMNS, BAND_COUNT, OUTPUT, TRUTH = "ROWS", "COLUMNS", "BAND_COUNT", "OUTPUT", "TRUTH"


class SampleScene(Algorithm):
    NAME = "sample_scene"
    TITLE = "Create sample scene"
    GROUP = "Scenes"
    TAGS = ("simulate", "synthetic", "test", "truth")
    HELP = (
        "Simulates a hyperspectral scene in reflectance: fields, trees, water, roads and roofs, mixed in the pixels, with varying "
        "illumination, sensor noise and bands that water vapour makes useless. Anomalies of several materials and sizes are planted in it, "
        "also smaller than a pixel. For a first try, and to compare detectors where the truth is known."
    )
    NEEDS = ("scipy",)

    def declare(self):
        def size(name, label, value, least):
            return QgsProcessingParameterNumber(name, label, defaultValue=value, minValue=least, maxValue=4096)

        self.add(size(ROWS, "Rows", 120, 32), "Height of the scene in pixels.")
        self.add(size(COLUMNS, "Columns", 120, 32), "Width of the scene in pixels.")
        self.add(size(BAND_COUNT, "Number of bands", 160, 8), "Spectral bands between 400 and 2500 nm.")
        self.add(seed_parameter(), "Number that random choices start from. The same seed gives the same scene.")
        self.add(
            QgsProcessingParameterRasterDestination(OUTPUT, "Scene"),
            "The scene as a GeoTIFF, Int16 with a scale, with wavelength, width and bad-band flag of each band.",
        )
        self.add(
            QgsProcessingParameterRasterDestination(TRUTH, "Truth map", optional=True),
            "1 where an anomaly covers at least a tenth of the pixel, else 0. For evaluation; no detector reads it.",
        )

    def read(self, parameters, context):
        self.shape = [self.parameterAsInt(parameters, name, context) for name in (ROWS, COLUMNS, BAND_COUNT)]
        self.seed = self.parameterAsInt(parameters, SEED, context)
        self.output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        self.truth = self.parameterAsOutputLayer(parameters, TRUTH, context)

    def work(self, run):
        from osgeo import osr

        from ..scenes.simulated import simulate_scene
        from ..scenes.writer import write_scene
        from ..workflows.outputs import check_outputs

        check_outputs([(self.output, ".tif"), (self.truth, ".tif")], [], run.scratch)
        run.progress(0.0, "simulating the scene")
        scene = simulate_scene(*self.shape, seed=self.seed)
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
        return results
