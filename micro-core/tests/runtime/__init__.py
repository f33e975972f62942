"""Tests of the runtime, and what they share."""
