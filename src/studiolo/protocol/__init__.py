"""LM Studio's wire protocol as data: frames, endpoint declarations, messages and settings. No I/O."""
