"""The guestbook in Django's admin: read, search, remove."""

from django.contrib import admin

from entries.models import Entry

admin.site.site_header = "Guestbook"
admin.site.site_title = "Guestbook"


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    list_display = ("name", "created", "message")
    search_fields = ("name", "message")
    date_hierarchy = "created"
    readonly_fields = ("created",)
