"""The language of metadata filters: a small part of SQL, closed by its own grammar.

tree.py     what an expression may consist of
words.py    text into words
reader.py   words into a tree, with the kinds of values checked
like.py     a test of a text by LIKE, in bounded time
passing.py  the rows of a table for which a tree is true

The grammar is our own: a general parser of SQL reads far more than may be asked of a server, differently in each of
its versions, and what it lets through some engine would run. Here nothing exists but what these files name. A filter
takes memory for a few values of each row, and only for a slice of the rows at a time.
"""
