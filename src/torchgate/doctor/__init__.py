"""`torchgate doctor`: one installation examined as the account that runs it, and what to do about each finding."""
