"""Finds the values that secret references point to."""
