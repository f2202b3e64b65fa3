"""What pictures are and what becomes of them: read, looked at, judged, coloured, filmed, laid out on a sheet.

Knows files and folders of frames; nothing of jobs, pools or renderers.
"""
