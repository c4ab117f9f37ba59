"""What a sweep's results mean: arms compared, numbers walked back to where they come from."""
