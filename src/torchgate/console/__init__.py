"""Serves the web pages; they use the public admin routes like any client."""
