class Thing:
    colour = 1


print("before")
(
    Thing()
    .color
)
