"""The pages of models: what is on disk and loaded, downloads, loading with a choice of settings."""
