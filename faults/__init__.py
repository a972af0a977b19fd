"""What can go wrong: faults on links, processes and Redis. Knows no subject and no suite."""
