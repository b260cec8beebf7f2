"""The pictures that are searched: what lies in the folder, what is stored of it, and the exact search over it.

It exports nothing: decoding processes import `gallery.picture`, and must not wait for LanceDB.
"""
