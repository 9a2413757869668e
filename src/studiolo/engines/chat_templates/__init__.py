"""Format chats as prompts: chat templates, in processes of their own, and text that spells control tokens."""
