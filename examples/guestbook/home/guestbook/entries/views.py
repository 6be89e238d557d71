"""The one page: leave an entry, read the others."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from entries.forms import EntryForm
from entries.models import Entry

PAGE_SIZE = 12


@require_http_methods(["GET", "HEAD", "POST"])
def guestbook(request: HttpRequest) -> HttpResponse:
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        entry = form.save()
        messages.success(request, f"Thank you, {entry.name}. Your words are in the book.")
        return redirect("guestbook")
    page = Paginator(Entry.objects.all(), PAGE_SIZE).get_page(request.GET.get("page"))
    status = 422 if form.errors else 200
    return render(request, "entries/guestbook.html", {"form": form, "page": page}, status=status)
