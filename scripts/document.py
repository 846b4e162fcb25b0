"""Write docs/algorithms.md from the algorithms themselves: python scripts/document.py (the plugin built, QT_QPA_PLATFORM=offscreen)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "algorithms.md"


def page(algorithms):
    """Markdown that describes algorithms of the provider and their parameters, in the given order."""
    from qgis.core import QgsProcessingParameterDefinition, QgsProcessingParameterEnum

    lines = ["# Algorithms", "", "Made from the algorithms by `make docs`. Ids and parameter names are permanent.", ""]
    for algorithm in algorithms:
        lines += [
            f"## {algorithm.displayName()}",
            "",
            f"`{algorithm.id()}`",
            "",
            algorithm.HELP,
            "",
            "| parameter | what it is | default |",
            "|---|---|---|",
        ]
        advanced = QgsProcessingParameterDefinition.Flag.FlagAdvanced
        for parameter in sorted(algorithm.parameterDefinitions(), key=lambda p: bool(p.flags() & advanced)):
            default = "" if parameter.defaultValue() is None else f"`{parameter.defaultValue()}`"
            choices = ""
            if isinstance(parameter, QgsProcessingParameterEnum):
                options = parameter.options()
                choices = " (" + ", ".join(options if parameter.usesStaticStrings() else (f"{i} {o}" for i, o in enumerate(options))) + ")"
            label = f"**{parameter.description()}**{' (advanced)' if parameter.flags() & advanced else ''}{choices}"
            lines.append(f"| `{parameter.name()}` | {label}: {parameter.help()} | {default} |")
        for output in algorithm.outputDefinitions():
            if algorithm.parameterDefinition(output.name()) is None:
                lines.append(f"| `{output.name()}` | **{output.description()}** (output) | |")
        lines.append("")
    return "\n".join(lines)


def documented(provider):
    """The algorithms in the order of the page."""
    order = [
        "train_sgm", "detect_anomalies", "detect_rx", "train_fers", "threshold_anomalies", "explain_anomalies", "evaluate_anomalies",
        "import_matlab", "sample_scene",
    ]  # fmt: skip
    return [provider.algorithm(name) for name in order]


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "build"), "/usr/share/qgis/python/plugins"]
    from qgis.core import QgsApplication

    application = QgsApplication([], False)
    application.initQgis()
    from processing.core.Processing import Processing

    Processing.initialize()
    from scoread_qgis.provider import ScoreadProvider

    provider = ScoreadProvider()
    QgsApplication.processingRegistry().addProvider(provider)
    PAGE.write_text(page(documented(provider)), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    application.exitQgis()
