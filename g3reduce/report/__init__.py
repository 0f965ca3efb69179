"""What people look at: pictures."""
