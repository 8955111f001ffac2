"""What a run came to: its records, its summary, its page, its sheet of pictures."""
