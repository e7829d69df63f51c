import sys

sys.stderr = None
raise KeyError("unheard")
