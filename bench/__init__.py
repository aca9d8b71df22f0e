"""Measurements side by side with what else one would use; README.md has the results and the commands."""
