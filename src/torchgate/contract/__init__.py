"""The nouns, messages and errors every other room shares; no behaviour beyond validation."""
