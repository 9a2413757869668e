"""Faults: each row of docs/reliability.md is a test here, or is named there with the file that it lives in."""
