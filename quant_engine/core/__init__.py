"""Vocabulary shared by every package: time, panels, identity, errors, registries, settings."""
