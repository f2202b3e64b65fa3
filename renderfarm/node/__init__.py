"""The program that runs on every node: takes a task, renders its frames, hands each one over.

Python 3.10, standard library only; also shipped as one zipapp file (`renderfarm.node.archive`).
"""
