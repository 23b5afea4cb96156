"""Sending what the ledger's queue holds: admission, flights, landings."""
