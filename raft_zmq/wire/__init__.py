"""What travels: frames, the messages inside them, and the commands inside those."""
