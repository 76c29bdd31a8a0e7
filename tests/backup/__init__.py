"""Backups: the file, and what is restored of it."""
