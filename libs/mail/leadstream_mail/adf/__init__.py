"""ADF 1.0 (Auto-lead Data Format): the automotive trade's XML for leads, written into mails and read from requests."""
