"""Structured output: JSON Schema as llama.cpp's grammars (GBNF).

llama.cpp turns schemas into grammars too, but passes over what it does not know. Here every construct is either held to
or refused with its path.
"""

from .json_schema import grammar_of as grammar_of
