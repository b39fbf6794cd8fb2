"""A small order service that Yaoki rescues, and the load that proves that nothing acknowledged was lost."""
