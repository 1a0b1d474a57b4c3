"""`python -m torchgate` is the command `torchgate`."""

from torchgate.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
