"""AWS: our program on the real engine against moto."""
