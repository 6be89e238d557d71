"""The parts that are compiled; all else is in pyproject.toml."""

from setuptools import Extension, setup


def compiled(name: str, *sources: str, optional: bool) -> Extension:
    """From C, once for every Python that a runtime may have."""
    return Extension(
        f"innkeeper.kernel._{name}",
        [f"src/innkeeper/kernel/{source}.c" for source in sources],
        depends=["src/innkeeper/kernel/mold.h", "src/innkeeper/kernel/pages.h"],
        extra_compile_args=["-O2", "-Wall", "-Wextra"],
        py_limited_api=True,
        optional=optional,
    )


setup(
    ext_modules=[
        compiled("mold", "mold", "first", optional=False),
        compiled("pages", "pages", optional=True),
    ]
)
