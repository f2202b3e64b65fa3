"""Words that travel as JSON between machines: frozen data, frame ranges, stamps of files. Decides nothing.

Standard library only, and Python 3.10: nodes have it too.
"""
