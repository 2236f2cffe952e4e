"""Hypothesis without deadlines: a machine may be busy, and files are written."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("files", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("files")
