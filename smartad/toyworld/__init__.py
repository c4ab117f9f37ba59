"""A small world to run the whole method in: generated questions, a scripted teacher, a base student of under 1 MB."""
