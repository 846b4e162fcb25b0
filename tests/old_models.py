"""Model files as version 0.2.0 wrote them, and the maps that it made with them.

`models/sgm.pt` is a file of that version, whole. Those of the other kinds would be large; of them `models/<kind>.json` keeps what version
0.2.0 put into a file, with the shapes of the tensors, and the tensors are recreated, from random numbers that never change.
`models/maps.npz` are version 0.2.0's maps of `scene()`. All of them were made by `models/make.py`, run with that version.
"""

import json
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "models"
KINDS = ("sgm", "sgm-paper", "sgm-paper-conditional", "fers")


def scene():
    """A scene (24, 20, 20) float32: four mixed spectra, noise, and one pixel of another spectrum."""
    random = np.random.RandomState(0)
    spectra, shares = random.rand(4, 20), random.dirichlet(np.ones(4), (24, 20))
    values = shares @ spectra + 0.01 * random.standard_normal((24, 20, 20))
    values[11, 7] = random.rand(20)
    return values.astype(np.float32)


def make_tensor(name, shape, dtype):
    """Plausible weights of a name and shape, always the same."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if dtype == "int64":
        return torch.zeros(shape, dtype=torch.int64)
    values = random.standard_normal(shape)
    if name.endswith("running_var"):
        values = 0.5 + np.abs(values)
    elif len(shape) > 1:
        values = values / np.sqrt(np.prod(shape[1:]))
    elif not name.endswith("embed.0.W"):
        values = 0.1 * values + name.endswith("weight")
    return torch.from_numpy(values.astype(dtype))


def content(kind):
    """What version 0.2.0 kept in the file of a detector of this kind."""
    return _filled(json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8")))


def write(kind, path):
    """Write a model file as version 0.2.0 did."""
    if kind == "sgm":
        path.write_bytes((FOLDER / "sgm.pt").read_bytes())
    else:
        torch.save(content(kind), path)
    return path


def expected_map(kind):
    return np.load(FOLDER / "maps.npz")[kind]


def described(value):
    """What `content` makes tensors of: the same with the shapes of the tensors for the tensors."""
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).partition(".")[2]}
    return {key: described(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _filled(value, name=""):
    if not isinstance(value, dict):
        return value
    if set(value) == {"shape", "dtype"}:
        return make_tensor(name, value["shape"], value["dtype"])
    filled = {key: _filled(inner, f"{name}.{key}" if name else key) for key, inner in value.items()}
    if not any(isinstance(inner, torch.Tensor) for inner in filled.values()):
        return filled
    filled = OrderedDict(filled)
    filled._metadata = OrderedDict({"": {"version": 1}})  # as the state of a torch module has it
    return filled
