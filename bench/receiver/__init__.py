"""Durable acknowledgements of the receiver, beside three other ways of answering the same deliveries."""
