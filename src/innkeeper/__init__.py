"""Innkeeper: self-hosted, multi-tenant hosting for Python web apps."""

__version__ = "0.1.0"
