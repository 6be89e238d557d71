"""Which address leads where."""

from django.contrib import admin
from django.urls import path
from entries.views import guestbook

urlpatterns = [
    path("", guestbook, name="guestbook"),
    path("admin/", admin.site.urls),
]
