"""The pages' place on the server: who may open them, and when they are started. The pages are ``studiolo.ui``."""
