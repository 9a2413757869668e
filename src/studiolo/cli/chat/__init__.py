"""``studiolo chat``: conversations with a model in the terminal."""
