"""What the host speaks: plain types without I/O and without the names of any wire format."""
