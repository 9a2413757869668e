"""The playground: one request on two models or two settings, and the log-probabilities of what they write."""
