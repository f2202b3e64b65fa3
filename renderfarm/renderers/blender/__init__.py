"""All that is known about Blender: its files, its builds, its logs, and the program that runs inside it."""
