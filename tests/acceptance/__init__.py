"""Claims about the product as a whole, from outside."""
