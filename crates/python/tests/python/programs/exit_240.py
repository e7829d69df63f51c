raise SystemExit(2**40)
