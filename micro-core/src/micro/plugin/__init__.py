"""Drivers by entry points, their settings, profiles, hooks."""
