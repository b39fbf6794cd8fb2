"""The orders that this service carries out itself: one class of handlers for each subject."""
