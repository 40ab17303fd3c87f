"""Panels: one function per panel, run data in, markup out."""
