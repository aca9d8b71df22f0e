"""What runs: one event's way from the POST to the warehouse. Imports no Pulumi and nothing of the program,
so that the same code serves on a laptop and in a function."""
