"""Renders, reads and lints the configuration of IIS and its modules, as text."""
