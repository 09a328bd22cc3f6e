"""What a mail says and how it looks on the wire; pure, no Redis, no SMTP, no clock."""
