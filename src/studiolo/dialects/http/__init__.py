"""What the dialects of HTTP share: endpoints, the fields of requests, answers whole and streamed, predictions."""
