"""The form at the top of the page."""

from typing import ClassVar

from django import forms

from entries.models import Entry


class EntryForm(forms.ModelForm):
    class Meta:
        model = Entry
        fields = ("name", "message")
        labels: ClassVar = {"name": "Your name", "message": "Your words"}
        widgets: ClassVar = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "message": forms.Textarea(attrs={"rows": 4}),
        }
