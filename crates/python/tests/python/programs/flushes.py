print("partial", end="")
raise SystemExit
