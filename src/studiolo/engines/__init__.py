"""Engines: the programs that run models, each in an OS process of its own."""
