"""Write docs/algorithms/ from the algorithms themselves: python scripts/document.py (the plugin built, QT_QPA_PLATFORM=offscreen)."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "algorithms"


def pages(provider):
    """The pages in docs/algorithms, one for each algorithm of the provider and the table of them all: file name -> Markdown."""
    algorithms = sorted((a.create() for a in provider.algorithms()), key=lambda a: (a.group(), a.displayName()))
    return {"README.md": _index(algorithms), **{f"{a.name()}.md": _page(a) for a in algorithms}}


def _index(algorithms):
    lines = [
        "# Algorithms", "",
        "Made from the algorithms by `make docs`. Ids and the names of parameters are permanent.", "",
        "| algorithm | group | id | what it does |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| [{a.displayName()}]({a.name()}.md) | {a.group()} | `{a.id()}` | {_cell(a.HELP)} |" for a in algorithms]
    return "\n".join([*lines, ""])


def _page(algorithm):
    from scoread_qgis.algorithms.help import example, inputs, outputs

    lines = [f"# {algorithm.displayName()}", "", f"`{algorithm.id()}`, in the group {algorithm.group()}. [All algorithms](README.md)", ""]
    lines += [algorithm.HELP, "", "## Parameters", "", "| parameter | what it is | default |", "|---|---|---|"]
    for definition, advanced in inputs(algorithm):
        default = "" if definition.defaultValue() is None else f"`{definition.defaultValue()}`"
        label = f"**{definition.description()}**{' (advanced)' if advanced else ''}{_choices(definition)}"
        lines.append(f"| `{definition.name()}` | {label}: {_cell(definition.help())} | {default} |")
    lines += ["", "## Outputs", "", "| output | what it is |", "|---|---|"]
    for name, label, text in outputs(algorithm):
        lines.append(f"| `{name}` | **{label}**{f': {_cell(text)}' if text else ''} |")
    return "\n".join([*lines, "", "## On the command line", "", "```sh", example(algorithm), "```", ""])


def _choices(definition):
    from qgis.core import QgsProcessingParameterEnum

    if not isinstance(definition, QgsProcessingParameterEnum):
        return ""
    options = definition.options()
    return " (" + ", ".join(options if definition.usesStaticStrings() else (f"{i} {o}" for i, o in enumerate(options))) + ")"


def _cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    from headless import registered_provider

    with registered_provider() as provider:
        FOLDER.mkdir(exist_ok=True)
        for stale in FOLDER.glob("*.md"):
            stale.unlink()
        for name, text in pages(provider).items():
            (FOLDER / name).write_text(text, encoding="utf-8")
            print(f"wrote docs/algorithms/{name}")
