"""From a source's bytes to parts of a stored object and back, in constant memory."""
