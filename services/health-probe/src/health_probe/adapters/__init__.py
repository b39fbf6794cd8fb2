"""One module for each technology that probes speak."""
