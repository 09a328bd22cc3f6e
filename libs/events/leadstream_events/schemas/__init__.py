"""What a lead, a subscriber and every event look like."""
