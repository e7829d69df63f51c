# Describes the interpreter that runs it: one line of JSON, the keys of `Interpreter`.
import json, os, sys


def existing(paths):
    kept = []
    for path in paths:
        if path and os.path.isabs(path) and os.path.exists(path) and path not in kept:
            kept.append(path)
    return kept


portrait = {"version": dict(zip(("major", "minor", "micro"), sys.version_info))}
if sys.version_info >= (3, 9):
    import sysconfig

    try:
        import ssl

        ssl_paths = ssl.get_default_verify_paths()
    except ImportError:
        ssl_paths = []
    try:
        import zoneinfo

        tz_paths = zoneinfo.TZPATH
    except ImportError:
        tz_paths = []
    portrait.update(
        executable=sys.executable,
        real_executable=os.path.realpath(sys.executable),
        base_executable=getattr(sys, "_base_executable", None) or sys.executable,
        implementation=sys.implementation.name,
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        exec_prefix=sys.exec_prefix,
        base_exec_prefix=sys.base_exec_prefix,
        stdlib=sysconfig.get_path("stdlib"),
        platstdlib=sysconfig.get_path("platstdlib"),
        sys_path=existing(sys.path),
        extension_suffix=sysconfig.get_config_var("EXT_SUFFIX") or "",
        # cafile and capath are what is in force, the openssl_ ones where the library was built to look.
        ssl_paths=existing(p for p in ssl_paths if isinstance(p, str)),
        tz_paths=existing(tz_paths),
    )
print(json.dumps(portrait))
