"""The command line: one module a command group. What a command needs is imported when it runs."""
