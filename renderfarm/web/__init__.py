"""The page: jobs seen while they render, and ordered about, in a browser that may be somebody's next to you.

One process that reads what the command line reads and asks what the command line asks; it knows nothing of its
own, so it may come and go. In here come the verbs, the ledger and the pictures; starlette and uvicorn come
nowhere else. Whoever asks is named by ids, never by paths; what nodes and scenes say is shown as text.
"""
