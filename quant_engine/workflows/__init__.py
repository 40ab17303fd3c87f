"""Workflows: the only place where stages meet and where artifacts are read and written."""

from quant_engine.workflows.trials import session

__all__ = ["session"]
