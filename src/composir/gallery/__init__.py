"""The pictures that are searched: what lies in the folder, what is stored of it, and the exact search over it."""

from composir.gallery.store import Gallery as Gallery
