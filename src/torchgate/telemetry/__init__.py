"""Turns the records the others emit into log lines, metrics, spans and the audit trail."""
