"""Find the packages; everything else stands in pyproject.toml.

The repository's root folder is the package `tastemaker` itself, which setuptools' own discovery cannot express.
"""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

DEVELOPMENT = ("tests*", "scripts*", "benchmarks*", "docs*")


class BuildWithoutThisFile(build_py):
    """Leave this file, which lies in the root package's folder, out of the package."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "setup"]


setup(
    packages=["tastemaker", *(f"tastemaker.{name}" for name in find_packages(".", exclude=DEVELOPMENT))],
    cmdclass={"build_py": BuildWithoutThisFile},
)
