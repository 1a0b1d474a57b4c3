"""Gate and pool as two processes: the engine of one, asked by the other over a local pipe and shared memory."""
