"""Reads what comes back about mails: delivery status notifications and complaints. Pure."""
