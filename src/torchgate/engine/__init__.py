"""Decides if, when and where a request runs; owns queues and worker processes."""
