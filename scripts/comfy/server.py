"""Start and stop a headless ComfyUI on a base directory of its own, with this pack in it.

`COMFY_FRONTEND_ROOT` names the folder of another page to serve: the `static` folder of another
`comfyui-frontend-package`, to try the pack in newer pages than the host's own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from .locate import ROOT, find, host_python

FOLDERS = ("custom_nodes", "models", "models/diffusers", "input", "output", "user", "temp")
START_SECONDS = 180


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class ComfyServer:
    """A ComfyUI process. Use as a context manager; `log` is its output so far.

    `comfy` and `python` name another ComfyUI than the usual one, and the Python that it runs with.
    """

    def __init__(
        self,
        base: Path,
        *,
        port: int = 0,
        arguments: tuple[str, ...] = (),
        comfy: Path | None = None,
        python: str | None = None,
    ) -> None:
        comfy = comfy or find()
        if comfy is None:
            raise RuntimeError("There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH.")
        self.comfy, self.base, self.port = comfy, base, port or free_port()
        self.python, self.arguments = python or host_python(), arguments
        self.log_path = base / "comfyui.log"
        self._process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def memory(self) -> int:
        """What the process holds in memory now, in bytes; 0 once it has ended."""
        import psutil

        return psutil.Process(self._process.pid).memory_info().rss if self.alive else 0

    @property
    def output(self) -> Path:
        return self.base / "output"

    def start(self) -> None:
        """Start and wait until it answers. Raises RuntimeError with the end of its log."""
        for name in FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        link = self.base / "custom_nodes" / "tastemaker"
        if not link.is_symlink():
            link.symlink_to(ROOT, target_is_directory=True)
        command = [self.python, "main.py", "--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", f"sqlite:///{self.base / 'user' / 'comfyui.db'}"]
        command += ["--disable-auto-launch", *_device_arguments(), *_page_arguments(), *self.arguments]
        # passive: two of torch's threads that wait for each other by spinning take ten times as long on a busy machine
        quiet = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        environment = os.environ | quiet | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        with self.log_path.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                command, cwd=self.comfy, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI stopped while starting:\n{self.log[-3000:]}")
            try:
                urllib.request.urlopen(f"{self.address}/system_stats", timeout=2).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        self.stop()
        raise RuntimeError(f"ComfyUI did not answer within {START_SECONDS} s:\n{self.log[-3000:]}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def wait(self) -> None:
        """Until it ends by itself."""
        if self._process is not None:
            self._process.wait()

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _page_arguments() -> list[str]:
    """`--front-end-root` where `COMFY_FRONTEND_ROOT` names a page. Raises RuntimeError for a folder that holds none."""
    named = os.environ.get("COMFY_FRONTEND_ROOT")
    if not named:
        return []
    if not (Path(named) / "index.html").is_file():
        raise RuntimeError(
            f"COMFY_FRONTEND_ROOT is {named}, which holds no index.html. Name a frontend's static folder."
        )
    return ["--front-end-root", str(Path(named).resolve())]


def _device_arguments() -> list[str]:
    """`--cpu` where there is no accelerator: ComfyUI does not start without it."""
    import torch

    return [] if torch.cuda.is_available() or torch.backends.mps.is_available() else ["--cpu"]
