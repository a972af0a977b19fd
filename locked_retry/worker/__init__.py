"""A worker that holds messages: what its turns say, when they are sent, leases beside the loop, counters."""
