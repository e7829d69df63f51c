# Runs inside the sandbox, under the filter: the preload and the code of a request, each with its own name and
# line numbers, in the __main__ that is there. An exception that nobody catches ends with exit code 255.
def launch(preload, code):
    import sys
    main, run, translate, display = globals(), exec, compile, sys.__excepthook__
    del main["launch"]  # the code finds the __main__ that it would have by itself
    caught = None
    try:
        for text, name in ((preload, "<preload>"), (code, "<code>")):
            if text is not None:
                run(translate(text, name, "exec", 0, True), main)
    except SystemExit:
        raise
    except BaseException as error:
        caught = error
    if caught is None:
        return
    trace = caught.__traceback__.tb_next  # without this file's frame
    hook = getattr(sys, "excepthook", None)
    if hook is not None and hook is not display:
        hook(type(caught), caught, trace)
        sys.exit(1)
    try:
        # There is no file: the lines of a traceback come from here.
        import linecache, traceback
        for text, name in ((preload, "<preload>"), (code, "<code>")):
            if text is not None:
                linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        traceback.print_exception(type(caught), caught, trace)
    except Exception:
        display(type(caught), caught, trace)
    sys.exit(255)


