"""Wheels made by hand, and servers that hand them out, hold them back, or stand in between: a world for pip without a network."""

import base64
import contextlib
import hashlib
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import PathFinder
from importlib.metadata import DistributionFinder, MetadataPathFinder
from pathlib import Path

# Passes what the installer tries: any attribute, any call.
WORKING_TORCH = """
class _Anything:
    def __getattr__(self, name):
        return self
    def __call__(self, *arguments):
        return self
__version__ = "9.9"
nn = optim = from_numpy = _Anything()
"""


def make_wheel(folder, name="torch", version="9.9", code=WORKING_TORCH, requires=()):
    """A real wheel of one package with one file, in `folder`."""
    information = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {r}\n" for r in requires),
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }  # fmt: skip
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{information}/RECORD"] = record + f"{information}/RECORD,,\n"
    wheel = Path(folder) / f"{name}-{version}-py3-none-any.whl"
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


class Server:
    """An index of wheels on this machine, that can also be asked as a proxy.

    folder: of wheels. stalls: whether it begins to send a wheel and never ends. login: "user:password" that it demands as a proxy.
    url: of the index. requests: [(method, what was asked for, Proxy-Authorization)].
    """

    def __init__(self, folder, stalls=False, login=None):
        self.requests, self.stalled = [], threading.Event()
        self._released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append((self.command, self.path, self.headers.get("Proxy-Authorization")))
                if login and self.headers.get("Proxy-Authorization") != "Basic " + base64.b64encode(login.encode()).decode():
                    self.send_error(407, "Proxy Authentication Required")
                    return
                name = self.path.rstrip("/").rpartition("/")[2]
                wheels = {wheel.name: wheel.read_bytes() for wheel in Path(folder).glob("*.whl")}
                if name in wheels:
                    self._send(wheels[name], "application/octet-stream", stalls)
                elif found := [wheel for wheel in wheels if wheel.startswith(name.replace("-", "_") + "-")]:
                    links = "".join(f'<a href="../../files/{wheel}">{wheel}</a>' for wheel in found)
                    self._send(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html", False)
                else:
                    self.send_error(404)

            do_CONNECT = do_GET

            def _send(self, content, kind, stall):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if stall:
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    server.stalled.set()
                    server._released.wait(60)
                else:
                    self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://localhost:{self.port}/simple"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._released.set()
        self._server.shutdown()
        self._server.server_close()


def pip_environment(environment, home=None):
    """An environment (a dictionary) less what this machine tells pip: its configuration, its indexes, its proxies.

    home: folder in the place of the user's, so that nothing of the user's is read or written.
    """
    if home is not None:
        environment = {**environment, "HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/data"}
    clean = {name: value for name, value in environment.items() if not name.startswith("PIP_") and "proxy" not in name.lower()}
    return {**clean, "PIP_CONFIG_FILE": "/dev/null"}


@contextlib.contextmanager
def only_in(folder, names=("torch",)):
    """Let Python find the packages `names` in `folder` alone, wherever else they are: as where the user has none."""

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return super().find_spec(name, [str(folder)] if path is None and name in names else path, target)

        @classmethod
        def find_distributions(cls, context=None):
            if context is not None and context.name in names:
                context = DistributionFinder.Context(name=context.name, path=[str(folder)])
            # Not that of PathFinder, which the package importlib_metadata takes away where something imports it.
            return MetadataPathFinder.find_distributions(context or DistributionFinder.Context())

    before = list(sys.meta_path)
    sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in before]
    try:
        yield
    finally:
        sys.meta_path[:] = before
