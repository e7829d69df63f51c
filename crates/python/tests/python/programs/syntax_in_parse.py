import ast

ast.parse("a b", "other.py")
