"""Tests of several services together, on real servers."""
