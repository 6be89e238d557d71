"""What owners read after typical mistakes, word for word; spec/mistakes.toml has those in site files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomllib

from innkeeper.spec.node import parse_node
from innkeeper.spec.problem import SpecError
from innkeeper.spec.runtime import parse_runtime
from innkeeper.spec.site import parse_site
from innkeeper.spec.tenant import parse_tenant

MISTAKES = tomllib.loads(Path(__file__).with_name("spec").joinpath("mistakes.toml").read_text())["mistake"]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["name"])
def test_site_file(mistake: dict[str, str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_site("blog.example.org", mistake["text"], file="blog.example.org.toml")
    problem = caught.value.problem
    assert (problem.message, problem.hint) == (mistake["message"], mistake["hint"])
    assert problem.code == "site-invalid"
    assert str(caught.value) == problem.message


def test_tenant_file() -> None:
    with pytest.raises(SpecError) as caught:
        parse_tenant("alice", "uid = 0\n", file="alice.toml")
    assert caught.value.problem.code == "tenant-invalid"
    assert caught.value.problem.message == (
        "alice.toml: `uid` is 0; it must be a whole number from 1000 to 2147483647"
    )
    with pytest.raises(SpecError, match=r"^Alice\.toml: the file's name is no tenant's: a tenant's name has"):
        parse_tenant("Alice", "uid = 2000\n", file="Alice.toml")


def test_runtime_file() -> None:
    with pytest.raises(SpecError) as caught:
        parse_runtime("python3.11", 'python = "/usr/bin/python3"\npreload = ["flask", "a b"]', file="r.toml")
    assert caught.value.problem.code == "runtime-invalid"
    assert caught.value.problem.message == (
        'r.toml: `preload` number 2 is "a b"; '
        'a module is named by its words with dots between, as in "blog.main"'
    )


def test_settings_file() -> None:
    with pytest.raises(SpecError) as caught:
        parse_node('isolation = "none"\n', file="innkeeper.toml")
    assert caught.value.problem.code == "node-invalid"
    assert caught.value.problem.message == (
        'innkeeper.toml: `isolation` is the text "none"; it must be "best" or "full"'
    )
