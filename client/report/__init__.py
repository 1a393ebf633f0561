"""One self-contained page about a run: the verdict, who led when, what the client saw, how fast it was.

`timeline.py`, `load.py` and `story.py` turn facts into places and numbers; `page.html.j2` draws them. The charts are
SVG drawn by the template: bars, a line and an axis need no plotting library, and every mark can carry its own text.
"""
