"""Fills the operating-system Protocols of contract with POSIX calls; imports cleanly elsewhere."""
