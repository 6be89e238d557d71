"""What visitors leave behind."""

from typing import ClassVar

from django.db import models


class Entry(models.Model):
    """One visitor's words."""

    name = models.CharField(max_length=60)
    message = models.TextField(max_length=600)
    created = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering: ClassVar = ["-created", "-pk"]
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.name}, {self.created:%d %B %Y}"
