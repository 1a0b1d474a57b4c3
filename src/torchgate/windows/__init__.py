"""Fills the operating-system Protocols of contract with Win32; imports cleanly elsewhere."""
