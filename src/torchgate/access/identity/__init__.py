"""Turns one kind of credential into a principal, or refuses it."""
