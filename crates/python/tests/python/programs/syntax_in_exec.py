print("ok")
exec("x = = 1")
