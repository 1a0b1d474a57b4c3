"""Turns the records that the others emit into log lines, metrics and the audit trail."""
