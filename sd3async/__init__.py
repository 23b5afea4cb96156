"""Asyncio-first client for the Stable Image API."""
