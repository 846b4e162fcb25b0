"""An attack on the reader of model files: broken and forged files of each kind of detector, from a seed.

A file is either damaged, with what may happen to bytes, or forged: another content under a valid checksum. A damaged one has to load with
the very same content, or to be refused; a forged one has to load as a model that can be kept again, or to be refused. To be refused is a
ValueError that names the file and a remedy. No other exception, no more than MOST_SECONDS of processor time and MOST_MEMORY more memory.

`make fuzz COUNT=20000 SEED=7` runs more of them than the test suite does.
"""

import io
import itertools
import json
import random
import re
import sys
import tempfile
import time
import traceback
import zipfile
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import old_models
import torch

from scoread_qgis.detectors.model_file import Model
from scoread_qgis.detectors.shared.tensor_file import decode

MOST_SECONDS = 10
MOST_MEMORY = 2**30
REMEDY = re.compile(r"Choose (another|a file)|Update the plugin|train it again")
DIGEST = slice(8 + len('{"__metadata__":{"sha256":"'), 8 + len('{"__metadata__":{"sha256":"') + 64)


def attack(folder, count, seed):
    """Try `count` files. Yields for each that was received badly its number, what was done to it, and what happened."""
    folder = Path(folder)
    bases = list(_bases(folder))
    for number in range(count):
        chance = random.Random(f"{seed}, {number}")
        kind, old, data, model = bases[number % len(bases)]
        means = chance.choice(MEANS[old])
        path = folder / "attacked.pt"
        path.write_bytes(means(chance, data))
        problem = _problem(path, model if means in DAMAGE else None)
        if problem:
            yield number, f"{means.__name__} of {'an old' if old else 'a'} file of {kind}", problem


def _bases(folder):
    """Kind, whether the layout is that of version 0.2, content and `Model` of each file that is attacked."""
    for kind in old_models.KINDS:
        path = old_models.write(kind, folder / "base.pt")
        model = Model.load(path)
        yield kind, True, path.read_bytes(), model
        model.save(path)
        yield kind, False, path.read_bytes(), model


def _problem(path, expected):
    """What is wrong with how a file is received, "" where nothing is. expected: the only `Model` that it may hold, None for any."""
    start = time.process_time()
    with limited_memory(MOST_MEMORY):
        try:
            model = Model.load(path)
        except ValueError as error:
            model = None
            if str(path) not in str(error) or not REMEDY.search(str(error)) or len(str(error)) > 1000:
                return f"an unhelpful message: {str(error)[:1000]}"
        except BaseException:
            return traceback.format_exc()
    if time.process_time() - start > MOST_SECONDS:
        return f"it took {time.process_time() - start:.1f} s"
    if model is None:
        return ""
    if expected is None:
        path, expected = path.with_name("again.pt"), model
        try:
            expected.save(path)
            model = Model.load(path)
        except ValueError:
            return f"it loads, and cannot be kept again: {traceback.format_exc()}"
    return "" if same(_content(model), _content(expected)) else "the content is another"


@contextmanager
def limited_memory(more):
    """No more than so many bytes of address space may be added, where the system knows such a limit."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def same(a, b):
    """Whether two contents are the same, bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def _content(model):
    return {**vars(model), "detector": {"kind": model.detector.kind, "state": dict(model.detector.state())}}


# Damage.


def flip_bits(chance, data):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        data[_place(chance, data)] ^= 1 << chance.randrange(8)
    return data


def cut_off(chance, data):
    return data[: chance.choice((0, 1, 7, 8, 40, _place(chance, data), len(data) - 1, len(data) - 22))]


def append(chance, data):
    return data + chance.randbytes(chance.choice((1, 22, 5000)))


def overwrite(chance, data):
    start, length = _place(chance, data), chance.choice((1, 4, 8, 64, 4096))
    filling = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length), data[:length]))
    return data[:start] + filling + data[start + length :]


def lose(chance, data):
    start = _place(chance, data)
    return data[:start] + data[start + chance.choice((1, 4, 64, 512)) :]


def repeat(chance, data):
    start, length = _place(chance, data), chance.choice((1, 64, 4096))
    return data[: start + length] + data[start:]


def _place(chance, data):
    """A place in a file: near its ends, where lengths and tables are, as often as elsewhere."""
    near = chance.choice((64, 1024, len(data), len(data)))
    return chance.choice((chance.randrange(near), len(data) - 1 - chance.randrange(near))) % len(data)


# Forgery of any file.


def unpickled_otherwise(chance, data):
    """A pickle or another container in the place of a model."""
    trap = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    return chance.choice((b"", trap, trap + data, b"PK\x03\x04" + trap, b"\x89HDF\r\n\x1a\n" + data, b"{}", b"[" * 100_000))


def forged_values(chance, data):
    """Another value, type, shape or key somewhere among the values."""
    values = _values(data)
    for _ in range(chance.choice((1, 1, 1, 3))):
        _change(chance, values)
    if data[:2] == b"PK":
        file = io.BytesIO()
        torch.save(values, file)
        return file.getvalue()
    return _written(values)


def _change(chance, values):
    parents = [values]
    for parent in parents:
        parents += [
            inner for inner in (parent.values() if isinstance(parent, dict) else parent) if isinstance(inner, (dict, list)) and inner
        ]
    parent = chance.choice(parents)
    key = chance.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    value = parent[key]
    choice = chance.randrange(4)
    if choice == 0:
        del parent[key]
    elif choice == 1 and isinstance(parent, dict):
        parent[chance.choice(("x", "", "tensor", f"{key}.", "é" * 200))] = parent.pop(key) if chance.random() < 0.5 else value
    elif isinstance(value, torch.Tensor) and choice == 2:
        like = chance.choice(
            (
                value[..., :1] if value.dim() else value[None],
                value.double(),
                value.int(),
                value[None],
                -value,
                value * float("nan"),
                value.flatten()[:0],
                value.flatten()[:1].expand(2**29),
                torch.stack([value, value]),
                value.half(),
            )
        )
        parent[key] = like
    else:
        parent[key] = chance.choice(
            (None, True, 0, 1, -1, 8, 10**5, 10**9, 10**30, 10**400, 0.0, 1e308, -1e308, "", "sgm", "fers", "x" * 10_000, [], [[]],
             {}, {"a": 1}, [0] * 1000, torch.zeros(()), torch.zeros(3), torch.ones(1, dtype=torch.bool))
        )  # fmt: skip


def _values(data):
    if data[:2] == b"PK":
        return torch.load(io.BytesIO(data), weights_only=True)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return decode(file.name)


# Forgery of files without a pickle.


def _written(values):
    """A file with any values, by another writer than the plugin's, which keeps only what is sane."""
    tensors = {}
    names = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32", torch.float16: "F16", torch.bool: "BOOL"}

    def plain(value):
        if isinstance(value, torch.Tensor):
            value = value if value.numel() <= 10**7 else value[:10]
            tensors[str(len(tensors))] = value
            return {"tensor": str(len(tensors) - 1)}
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    text, entries, parts, end = json.dumps(plain(values)), {}, [], 0
    for name in sorted(tensors, key=lambda name: -tensors[name].element_size()):
        part = tensors[name].contiguous().numpy().tobytes()
        entries[name] = {"dtype": names[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [end, end + len(part)]}
        parts.append(part)
        end += len(part)
    return _with_header({"__metadata__": {"sha256": "0" * 64, "values": text}, **entries}, b"".join(parts))


def _with_header(header, data):
    header = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return signed(len(header).to_bytes(8, "little") + header + data)


def signed(data):
    """A file with the checksum that fits it."""
    data = bytearray(data)
    data[DIGEST] = b"0" * 64
    data[DIGEST] = sha256(data).hexdigest().encode()
    return data


def forged_header(chance, data):
    """Another dtype, shape or place of a tensor."""
    length = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = chance.choice([name for name in header if name != "__metadata__"])
    change = chance.randrange(7)
    if change == 0:
        header[name] = chance.choice((None, [], {}, "x", header[chance.choice(list(header))]))
    elif change == 1:
        header[name]["dtype"] = chance.choice(("F64", "I64", "F16", "BOOL", "", None, []))
    elif change == 2:
        header[name]["shape"] = chance.choice(
            ([], [0], [-1], [10**9], [2**62, 4], [1.5], [True], None, "x", [1] * 100, [[1]], header[name]["shape"][::-1])
        )
    elif change == 3:
        begin, end = header[name]["data_offsets"]
        header[name]["data_offsets"] = chance.choice(
            ([0, 0], [begin + 4, end + 4], [begin, end + 4], [end, begin], [-4, 4], [0, 10**18], [begin], None)
        )
    elif change == 4:
        header[chance.choice(("y", "__metadata__2"))] = header[name] if chance.random() < 0.5 else header.pop(name)
    elif change == 5:
        header["__metadata__"]["values"] = chance.choice(
            (
                "",
                "{}",
                "[]",
                "null",
                "1e999",
                "NaN",
                "[" * 100_000,
                '{"tensor": 1}',
                '{"a":' * 50_000,
                f'{{"tensor": "{name}"}}',
                "9" * 10_000,
            )
        )
    else:
        header["__metadata__"].pop("values")
    return _with_header(header, rest)


def forged_bytes(chance, data):
    """Anything anywhere, under a valid checksum."""
    return signed(chance.choice((flip_bits, overwrite))(chance, data).ljust(DIGEST.stop, b" "))


# Forgery of archives of torch.save.


def forged_archive(chance, data):
    """Other members of the zip, each with a valid checksum."""
    members = _members(data)
    name = chance.choice(list(members))
    change = chance.randrange(5)
    if change == 0:
        del members[name]
    elif change == 1:
        members[name] = chance.choice((b"", members[name][:-1], members[name] * 2, b"big"))
    elif change == 2:
        members[chance.choice(("data.pkl", "other/data.pkl", "archive/code/x.py", "../x"))] = members[name]
    elif change == 3:
        members[name] = bytes(flip_bits(chance, members[name])) if members[name] else b""
    return _zip(members, zipfile.ZIP_DEFLATED if change == 4 else zipfile.ZIP_STORED)


def forged_pickle(chance, data):
    """Another pickle, under a valid checksum."""
    members = _members(data)
    name = next(name for name in members if name.endswith("data.pkl"))
    pickle = members[name]
    change = chance.randrange(4)
    if change == 0:
        pickle = bytes(chance.choice((flip_bits, overwrite, lose, repeat))(chance, pickle))
    elif change == 1:
        start = chance.randrange(len(pickle))
        pickle = pickle[:start] + chance.choice(_OPCODES) + pickle[start:]
    elif change == 2:
        old, new = chance.choice(
            ((b"FloatStorage", b"LongStorage"), (b"torch._utils", b"os"), (b"_rebuild_tensor_v2", b"_rebuild_parameter"),
             (b"storage", b"module"), (b"\x89", b"\x88"), (b"K\x01", b"K\x00"), (b"K\x01", b"J\xff\xff\xff\x7f"), (b"M", b"J"),
             (b"collections\nOrderedDict", b"builtins\neval"))
        )  # fmt: skip
        pickle = pickle.replace(old, new, chance.choice((1, 3, -1)))
    else:
        pickle = chance.choice(
            (
                b"\x80\x02}.",
                b"\x80\x02].",
                b".",
                b"",
                b"\x80\x02" + b"]q\x00h\x00a" * 1000 + b".",
                b"\x80\x02" + b"(" * 10**6,
                b"\x80\x02}q\x00(X\x01\x00\x00\x00ah\x00u.",
            )
        )
    return _zip({**members, name: pickle})


_OPCODES = [bytes([opcode]) for opcode in range(256)] + [
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"X\x04\x00\x00\x00trueR", b"\x8a\xff" + b"\x7f" * 255, b"Q", b"R", b"b",
    b"h\x00", b"r\xff\xff\xff\xff", b"0" * 3,
]  # fmt: skip


def _members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


DAMAGE = (flip_bits, cut_off, append, overwrite, lose, repeat)
MEANS = {
    True: (*DAMAGE, unpickled_otherwise, forged_values, forged_archive, forged_pickle, forged_pickle, forged_pickle),
    False: (*DAMAGE, unpickled_otherwise, forged_values, forged_values, forged_header, forged_header, forged_bytes),
}


def main(count, seed):
    with tempfile.TemporaryDirectory() as folder:
        bad = 0
        for number, what, problem in itertools.islice(attack(folder, count, seed), 20):
            bad += 1
            print(f"{number}: {what}: {problem}", file=sys.stderr)
    print(f"{count} model files, seed {seed}: {bad or 'none'} received badly")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
