"""What stands behind `make`: the virtual environment, the engine, and the targets themselves."""
