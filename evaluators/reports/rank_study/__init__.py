"""Ranking studies: how well the shared weights of a supernet rank the architectures that it was trained on (NAO-V2,
section 3).
"""
