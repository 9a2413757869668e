"""What must outlive a process: stored responses, chats and completions, in SQLite or PostgreSQL."""
