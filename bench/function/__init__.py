"""What the function on AWS costs by itself: the start of an instance, and the CPU of a delivery."""
