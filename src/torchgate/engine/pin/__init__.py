"""What an installation is held to: torchgate.lock, and the comparison with what is there."""
