"""Mail: what it says, how it looks on the wire, and the SMTP edge. Knows no Redis; the mailer and the API share it."""
