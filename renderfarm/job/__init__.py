"""What is known of jobs: the record of what was asked, journals of what happened, the ledger of what follows.

Facts come in as events, one line of JSON each, from nodes and from the farm; what a job or a frame *is* gets
computed from them, here and nowhere else. Nothing here renders, looks at pictures or speaks to a pool.
"""
