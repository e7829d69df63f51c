import asyncio


async def main():
    await asyncio.sleep(0.01)
    raise KeyError("in a task")


asyncio.run(main())
