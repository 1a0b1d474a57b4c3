"""Loads one model and answers batches, in its own process; the only room that knows torch."""
