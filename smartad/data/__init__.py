"""The benchmarks' questions as data: where they lie, whether they are the ones we know, how to get them, what they share.

``ids`` knows every row by hash, so that a subset can be told from any file that holds it; ``files`` reads what is in the data
folder; ``fetching`` brings it there; ``overlap`` compares sets of questions.
"""
