"""Many messages in one call, and large tasks in shards."""
