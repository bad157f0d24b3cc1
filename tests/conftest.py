"""Fixtures that several test files share."""

from lab_world import encoded, quick  # noqa: F401
