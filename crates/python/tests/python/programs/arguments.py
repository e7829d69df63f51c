import argparse, sys

print(sys.argv[1:], sys.stdin.read())
argparse.ArgumentParser().parse_args(["--nonsense"])
