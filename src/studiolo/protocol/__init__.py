"""The LM Studio wire as data: frames, endpoints, messages and settings. No I/O happens here."""
