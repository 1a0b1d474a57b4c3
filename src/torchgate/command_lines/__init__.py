"""The command line, one module per group of commands: each declares arguments and names what runs."""
