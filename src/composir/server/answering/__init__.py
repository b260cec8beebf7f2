"""The engine behind the server: a gallery and the methods that fit it, as `composir.server.service.Service`.

stand.py      what is served at one moment: shelf and methods; a change makes another
composing.py  requests into weighted query vectors, together where they came together
ranking.py    what a query ranks, exactly or in part; places of targets
cutting.py    what of a ranking a request is answered with
paging.py     ranked pictures page by page, near-duplicates folded; marks.py has the cursors
benchmark.py  a benchmark's queries in ids of the gallery
verdicts.py   what people say of answers, as a plain data set; log.py is the file that they are added to
engine.py     the service itself, which follows its gallery
"""
