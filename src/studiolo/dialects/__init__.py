"""Wire protocols on top of a host. A dialect translates; it decides nothing."""
