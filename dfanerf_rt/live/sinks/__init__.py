"""Where live frames go: one file a sink."""
