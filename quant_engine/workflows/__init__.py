"""Workflows: the only place where stages meet and where artifacts are read and written."""
