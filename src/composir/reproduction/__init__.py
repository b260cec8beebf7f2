"""Published numbers, each with the one command that gives it and the score that it must give.

matrix.json   the rows: what is run, and what came out when it was recorded
matrix.py     rows read and written      judging.py   a result against its row      running.py   a row run
"""
