"""Bring the guestbook to where it can serve: key, tables, static files and one administrator.

It may run any number of times; what is there already stays as it is.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import django
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.utils import get_random_secret_key

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
SECRET_KEY = DATA / "secret_key"
PASSWORD = HERE / "ADMIN_PASSWORD.txt"
ADMIN = "admin"


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file that its owner alone may read, from its first moment on."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.rename(path)


def ensure_secret_key() -> None:
    DATA.mkdir(mode=0o700, exist_ok=True)
    if not SECRET_KEY.exists():
        write_private(SECRET_KEY, get_random_secret_key())


def ensure_administrator() -> str:
    """Create the administrator unless there is one; the sentence to tell the owner."""
    users = get_user_model().objects
    if users.filter(username=ADMIN).exists():
        return f"The administrator “{ADMIN}” was there already."
    password = secrets.token_urlsafe(18)
    write_private(PASSWORD, password + "\n")
    users.create_superuser(username=ADMIN, password=password)
    return f"The administrator is “{ADMIN}”; the password is in {PASSWORD}."


def main() -> None:
    ensure_secret_key()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    print(f"Tables and static files are ready. {ensure_administrator()}")


if __name__ == "__main__":
    main()
