"""Find the packages; everything else stands in pyproject.toml.

The repository's root folder is the package `tastemaker` itself, which setuptools' own discovery cannot express.
"""

from setuptools import find_packages, setup

DEVELOPMENT = ("tests*", "scripts*", "benchmarks*", "docs*")

setup(packages=["tastemaker", *(f"tastemaker.{name}" for name in find_packages(".", exclude=DEVELOPMENT))])
