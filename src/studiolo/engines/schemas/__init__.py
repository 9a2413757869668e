"""Structured output: JSON Schema as llguidance grammars, followed while they are generated and checked at the end.

The engine drops a grammar that it cannot build or follow, and says nothing. So three guards stand between a schema and
an answer that ignores it: the grammar is built first, with the version of llguidance that the engine links
(:mod:`.preparation`); the text is followed byte by byte while it streams (:mod:`.matching`); and a finished answer is
validated against the schema (:mod:`.validation`).

Schemas and answers come from outside and may take any time. What handles them whole runs in a process of its own
(:mod:`.worker`), within limits; :mod:`.process` speaks to it.
"""
