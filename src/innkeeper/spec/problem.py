"""A Problem: what is wrong, told to the person who can mend it."""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, gc=False):
    """What is wrong and what to do about it, both in plain words.

    `code` is kebab-case and stable, so programs may compare it; the texts are for people and may change.
    """

    code: str
    message: str
    hint: str


class SpecError(Exception):
    """What was asked for can't be had; `problem` tells why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem
