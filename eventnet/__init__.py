"""Exact, event-driven spiking networks that learn online from sensors at any rate."""
