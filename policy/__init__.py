"""The policy pack: what a reviewer would otherwise have to look for by hand in each preview."""
