"""Keeping: what is known of every item, and the images, safe against every kind of end."""
