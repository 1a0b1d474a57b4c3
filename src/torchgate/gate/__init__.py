"""Turns HTTP into a contract request and a contract answer or error into HTTP."""
