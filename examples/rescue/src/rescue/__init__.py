"""The demonstration: an application loses its database and its cache, and gets them back."""
