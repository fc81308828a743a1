"""What people bring, made at random: no traceback, nothing lost without a word, no wrong count.

``make test`` tries a few fixed examples of each; ``FUZZ_EXAMPLES=5000 python -m pytest tests/fuzz`` tries so many new ones.
"""
