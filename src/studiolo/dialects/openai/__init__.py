"""OpenAI's HTTP API: chat completions, completions, embeddings, models, responses."""
