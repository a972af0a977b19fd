"""What a process of ours is made to see of its clock and its disk: a library loaded before libc, a page for each."""
