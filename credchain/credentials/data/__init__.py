"""The category files that a new network starts from; the network file carries its own copy."""
