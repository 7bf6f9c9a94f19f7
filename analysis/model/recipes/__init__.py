"""Contrast prompts per concept, one JSON Lines file each: what a probe is trained from on the user's own model."""
