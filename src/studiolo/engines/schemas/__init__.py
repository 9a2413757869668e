"""Structured output: JSON schemas as llguidance grammars, matched while an answer streams, and validated at its end.

An engine may silently drop a grammar that it cannot build or follow. Three checks ensure that no answer violates its
schema unnoticed: the grammar is built first, with the version of llguidance that the engine links
(:mod:`.preparation`); the text is matched byte by byte while it streams (:mod:`.matching`); and the finished answer is
validated against the schema (:mod:`.validation`).

Schemas and answers are untrusted, and can take any time to process. Building grammars and validating answers therefore
run in a process of its own (:mod:`.worker`) with limits; :mod:`.process` is its client.
"""
