"""The one part that is compiled; all else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "innkeeper.kernel._pages",
            ["src/innkeeper/kernel/pages.c"],
            extra_compile_args=["-O2", "-Wall", "-Wextra"],
            py_limited_api=True,  # one file for every Python that a runtime may have
            optional=True,
        )
    ]
)
