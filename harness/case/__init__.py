"""What is asked: a case's plan, what its stack is like, what is expected of it."""
