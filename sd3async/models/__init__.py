"""Values: what to generate, where its images come from, and what came of it."""
