"""The host: owns the library, the instances and the predictions. Knows no network."""
