"""What happened, and what it came to: the ledger, the events, histories, verdicts, and where they are kept."""
