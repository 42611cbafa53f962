"""What a change can break: the commit to compare with, what differs, and who imports it."""
