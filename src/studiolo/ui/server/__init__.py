"""The page of the server: what runs, how fast, its log, and the requests that it gets."""
