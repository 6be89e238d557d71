"""Values that are not names: commands, environment, passwords, sizes, ids."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.spec import values

# Hypothesis makes its tables of characters at its first run on a machine, which takes seconds.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
HASH = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe"
ANY = st.text(st.characters(), max_size=50)  # surrogates and control characters too


@pytest.mark.parametrize("text", ["node server.js", 'sh -c "exec x $DOMAIN_SOCKET"', "a", " a "])
def test_commands(text: str) -> None:
    assert values.command(text) == text.strip()


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\0", "a\tb", "\x1b[0m", "x" * 2001])
def test_what_is_no_command(text: str) -> None:
    with pytest.raises(ValueError, match="a command"):
        values.command(text)


@pytest.mark.parametrize("text", ["A", "_", "DJANGO_SETTINGS_MODULE", "path2", "A" * 100])
def test_variable_names(text: str) -> None:
    assert values.env_name(text) == text


@pytest.mark.parametrize(
    "text", ["", "1A", "A-B", "A B", "A=B", "É", "A\n", "A" * 101, "UWSGI_FILE", "uwsgi_x"]
)
def test_what_is_no_variable_name(text: str) -> None:
    with pytest.raises(ValueError, match="variable"):
        values.env_name(text)


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN KEY-----\r\n\tabc\n", "p@$$'w\"ord\\", "🐍 é \u2028"])
def test_variable_values(text: str) -> None:
    assert values.env_value(text) == text


@pytest.mark.parametrize("text", ["\0", "a\0b", "\x1b[0m", "\x7f", "\x85", "\ud800", "\b"])
def test_what_is_no_variable_value(text: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        values.env_value(text)


@PATIENT
@given(ANY)
def test_a_variable_value_can_be_handed_to_a_process(text: str) -> None:
    try:
        found = values.env_value(text)
    except ValueError:
        return
    assert found == text
    assert b"\0" not in text.encode()


@pytest.mark.parametrize("text", [HASH, HASH.replace("$2y$", "$2a$"), HASH.replace("$2y$05", "$2b$12")])
def test_password_hashes(text: str) -> None:
    assert values.password_hash(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "bcrypt"),
        ("secret", "bcrypt"),
        (HASH + "\n", "bcrypt"),
        (HASH[:-1], "bcrypt"),
        (HASH + "x", "bcrypt"),
        (HASH.replace("$2y$", "$2x$"), "bcrypt"),
        ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "bcrypt"),
        (HASH.replace("$05$", "$31$"), "cost"),
        (HASH.replace("$05$", "$03$"), "cost"),
    ],
)
def test_what_is_no_password_hash(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        values.password_hash(text)


@pytest.mark.parametrize("text", ["", "a:b", "a b", "a\n", "é", "x" * 65])
def test_what_is_no_password_user(text: str) -> None:
    with pytest.raises(ValueError, match="user name"):
        values.password_user(text)


@pytest.mark.parametrize("text", ["/opt/x/bin/python", "/opt/x/bin/python3", "/opt/x/bin/python3.12"])
def test_pythons(text: str) -> None:
    assert values.python(text) == text


@pytest.mark.parametrize("text", ["python3", "/bin/python", "/opt/x/bin/perl", "/opt/x/bin/python/x"])
def test_what_is_no_python(text: str) -> None:
    with pytest.raises(ValueError, match=r"virtualenv|path"):
        values.python(text)


def test_sizes() -> None:
    assert [values.size(text) for text in ("0", "100m", "8K", "2g")] == ["0", "100m", "8k", "2g"]
    for text in ("", "m", "1.5m", "10 m", "10mb", "-1", "1234567", "1m\n", "1m;"):
        with pytest.raises(ValueError, match="a size"):
            values.size(text)


def test_memory_is_enough_to_start_with_or_no_limit() -> None:
    assert [values.memory(text) for text in ("0", "8m", "8192K", "1g")] == ["0", "8m", "8192k", "1g"]
    for text in ("512", "7m", "8191k", "1"):
        with pytest.raises(ValueError, match="less than 8m"):
            values.memory(text)


def test_a_log_has_room_for_a_traceback() -> None:
    assert [values.log(text) for text in ("64k", "10M")] == ["64k", "10m"]
    for text in ("0", "10", "63k"):
        with pytest.raises(ValueError, match="at least 64k"):
            values.log(text)


def test_user_ids() -> None:
    assert [values.uid(number) for number in (1000, 2**31 - 1)] == [1000, 2**31 - 1]
    for number in (-1, 0, 999, 65_534, 65_535, 2**31, 2**32):
        with pytest.raises(ValueError, match="user id"):
            values.uid(number)
