raise SystemExit("a word")
