"""The rows of the table, in its order: each module registers those of its subject."""

from . import streams, clients, long_prompts, drafts, chats, structured, front_end, starts, embeddings, tuning  # noqa: F401, I001
