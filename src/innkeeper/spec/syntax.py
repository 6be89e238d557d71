"""TOML's syntax errors in plain words."""

from __future__ import annotations

import re

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_KEY = re.compile(r"\s*([A-Za-z0-9_.-]{1,100})\s*=")
_CAPITAL = re.compile(r"(?:true|false)\b", re.IGNORECASE)

_CLOSE_QUOTES = (
    "End the text with the quote that it began with; a text of several lines stands between three quotes."
)
_TWICE = "Remove one of the two, or join them."
_BACKSLASH = "Write \\\\ for a backslash, or put the text in single quotes, where a backslash is only itself."

# How the parser's messages begin; what that means; what to do.
_MEANINGS = (
    ("Illegal character '\\n'", "a text has no quote at its end", _CLOSE_QUOTES),
    ("Found invalid character '\\n'", "a text has no quote at its end", _CLOSE_QUOTES),
    ("Unterminated string", "a text has no quote at its end", _CLOSE_QUOTES),
    ("Expected \"'", "a text has no quote at its end", _CLOSE_QUOTES),
    ("Expected '\"", "a text has no quote at its end", _CLOSE_QUOTES),
    ("Illegal character", "there is a control character", "Remove the invisible character."),
    ("Found invalid character", "there is a control character", "Remove the invisible character."),
    ("Unescaped '\\'", "a backslash in a text must be doubled", _BACKSLASH),
    ("Invalid hex value", "a backslash and u or U must be followed by a character's number", _BACKSLASH),
    ("Escaped character is not", "the number behind the backslash is no character's", _BACKSLASH),
    ("Cannot declare", "this table stands in the file twice", _TWICE),
    ("Cannot redefine", "this table stands in the file twice", _TWICE),
    ("Cannot overwrite", "this key stands in its table twice", _TWICE),
    ("Duplicate inline table key", "this key stands in its table twice", _TWICE),
    ("Cannot mutate", "this adds to a table or list that is complete", _TWICE),
    ("Expected ']' at", "the name of a table has no ] behind it", "Write it as in: [app]"),
    ("Expected ']]' at", "the name of a table has no ]] behind it", "Write it as in: [[static]]"),
    ("Expected '=' after a key", "there is no = behind the key", 'Write it as in: tenant = "alice"'),
    (
        "Expected newline",
        "there is something behind the end of the value",
        "Put it on a line of its own, or remove it.",
    ),
    ("Invalid initial character for a key", "a key is missing", 'Write it as in: tenant = "alice"'),
    (
        "Invalid statement",
        "a line begins with a key, with the name of a table in [ ], or with #",
        "Mend the line, or make it a comment by a # at its beginning.",
    ),
    (
        "Unclosed array",
        "a list lacks a comma or its closing ]",
        'Write it as in: aliases = ["a.org", "b.org"]',
    ),
    ("Unclosed inline table", "a table lacks a comma or its closing }", "Write it as in: { force = true }"),
    ("Invalid date", "this is not a date that there is", "Put it in quotes if it is meant as text."),
)


def explain(text: str, message: str) -> tuple[str, str]:
    """What is wrong, with line and column, and a hint; from the message of tomllib's exception.

    Values are not shown: they may be secret.
    """
    match = _PLACE.fullmatch(message)
    what, line, column = match.groups() if match else (message, None, None)
    where = f"line {line}, column {column}" if line else "at the end of the file"
    if what == "Invalid value":
        return _explain_value(text, where, int(line or 0), int(column or 0))
    for beginning, meaning, hint in _MEANINGS:
        if what.startswith(beginning):
            return f"{where}: {meaning}", hint
    return f"{where}: it is not valid TOML ({what})", "Mend the line."


def _explain_value(text: str, where: str, line: int, column: int) -> tuple[str, str]:
    """A value that is none: mostly a text without quotes."""
    found = text.replace("\r\n", "\n").split("\n")[line - 1] if line else ""
    rest = found[column - 1 :].strip()
    match = _KEY.match(found)
    key = match[1] if match else "key"
    if not rest or rest.startswith("#"):
        return f"{where}: there is no value behind `{key} =`", "Write a value, or remove the line."
    capital = _CAPITAL.match(rest)
    if capital:
        return f"{where}: true and false are written in small letters", f"Write {key} = {capital[0].lower()}"
    return f"{where}: the value of `{key}` is not one that TOML knows", f'A text needs quotes: {key} = "…"'
