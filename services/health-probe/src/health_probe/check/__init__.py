"""One look at everything, before anything runs."""
