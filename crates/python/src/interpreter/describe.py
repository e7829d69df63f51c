# Describes the interpreter that runs it: one line of JSON, the keys of `Interpreter`, and under `rests_on` every path
# that the description depends on, whether it is there or not.
import json, os, site, sys


def existing(paths):
    kept = []
    for path in paths:
        if path and os.path.isabs(path) and os.path.exists(path) and path not in kept:
            kept.append(path)
    return kept


def named_by(pth):
    """The directories that a .pth file names, as site.addpackage() reads it."""
    try:
        with open(pth, errors="replace") as lines:
            for line in lines:
                line = line.strip()
                if line and not line.startswith(("#", "import ", "import\t")):
                    yield os.path.join(os.path.dirname(pth), line)
    except OSError:
        pass


def witnesses(*more):
    found = set(path for path in more if isinstance(path, str))
    bin_dir = os.path.dirname(sys.executable)
    for directory in (bin_dir, os.path.dirname(bin_dir)):
        found.add(os.path.join(directory, "pyvenv.cfg"))
    packages = site.getsitepackages(list({sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}))
    found.update(packages, sys.path, (sys.executable, sys.prefix, sys.base_prefix))
    for directory in set(packages) | set(sys.path):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for pth in (os.path.join(directory, name) for name in names if name.endswith(".pth")):
            found.add(pth)
            found.update(named_by(pth))
    for module in list(sys.modules.values()):
        for name in ("__file__", "__cached__"):
            path = getattr(module, name, None)
            if isinstance(path, str):
                found.add(path)
    try:
        # Shared objects, that of the interpreter among them.
        with open("/proc/self/maps") as maps:
            found.update(line.split(None, 5)[5].rstrip("\n") for line in maps if line.count(" /") == 1)
    except OSError:
        pass
    return sorted(path for path in found if os.path.isabs(path))


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
    stdlib, platstdlib = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
    portrait.update(
        executable=sys.executable,
        real_executable=os.path.realpath(sys.executable),
        base_executable=getattr(sys, "_base_executable", None) or sys.executable,
        implementation=sys.implementation.name,
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        exec_prefix=sys.exec_prefix,
        base_exec_prefix=sys.base_exec_prefix,
        stdlib=stdlib,
        platstdlib=platstdlib,
        sys_path=existing(sys.path),
        extension_suffix=sysconfig.get_config_var("EXT_SUFFIX") or "",
        # cafile and capath are what is in force, the openssl_ ones where the library was built to look.
        ssl_paths=existing(p for p in ssl_paths if isinstance(p, str)),
        tz_paths=existing(tz_paths),
        rests_on=witnesses(stdlib, platstdlib, *ssl_paths, *tz_paths),
    )
print(json.dumps(portrait))
