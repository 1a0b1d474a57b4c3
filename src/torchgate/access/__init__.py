"""Proves who calls, decides what they may do, hands out secret values."""
