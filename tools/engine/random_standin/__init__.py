"""Stands in for Pulumi's random plugin where that can't be downloaded."""
