"""Anthropic's HTTP API: messages, the count of their tokens, and models."""
