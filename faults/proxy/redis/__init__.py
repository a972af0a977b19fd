"""What a link carries, read as Redis commands and replies: rules at commands, the journal, the events."""
