//! Finds the Python interpreter in a process, in whatever root and mount namespace that lives.
//!
//! py-spy's own search takes the path of libpython from `/proc/PID/maps`, where it is written as seen
//! from here, and opens it below `/proc/PID/root`, where it is read as seen from there. In a chroot the
//! two differ; so the search is done here. From CPython 3.13 on the interpreter tells the rest; of older ones
//! py-spy finds it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use proc_maps::{MapRange, get_process_maps};
use py_spy::python_process_info::{PythonProcessInfo, get_interpreter_address, get_python_version};

use super::awaited::{Awaited, interpreter};
use super::binaries::parse;
use super::layout::Layout;
use super::offsets::{OLDEST, Table};
use super::pages::Pages;
use super::symbols::{RUNTIME, Wanted};
use super::version::{minor_in, named};
use super::walk::First;
use super::{Cause, StackError, failed};

/// An interpreter that was found.
#[derive(Clone, Copy)]
pub(super) struct Python {
    /// Where its state is.
    pub first: First,
    pub layout: Layout,
}

/// Finds the interpreter of process `pid`. Never attaches, locks or stops. `awaited` becomes what
/// has to come first, if that can be told.
pub(super) fn open(pid: i32, awaited: &mut Option<Awaited>) -> Result<Python, StackError> {
    let link = format!("/proc/{pid}/exe");
    let opening = |source: Cause| failed(pid, source, |pid, source| StackError::Open { pid, source });
    let executable = fs::read_link(&link).map_err(|error| opening(error.into()))?;
    let maps = get_process_maps(pid).map_err(|error| opening(error.into()))?;
    let libpython = mapped(&maps, is_libpython);
    if libpython.is_none() && !file_name(&executable).starts_with("python") {
        let executable = executable.display().to_string();
        return Err(StackError::NotPython { pid, executable });
    }
    match search(pid, &executable, maps.clone(), libpython, awaited) {
        Ok(Some(python)) => Ok(python),
        Ok(None) => Err(StackError::NotYet { pid }),
        Err(error) => Err(opening(error)),
    }
}

fn search(
    pid: i32,
    executable: &Path,
    maps: Vec<MapRange>,
    libpython: Option<&MapRange>,
    awaited: &mut Option<Awaited>,
) -> Result<Option<Python>, Cause> {
    let file = libpython.and_then(MapRange::filename).unwrap_or(executable);
    let minor = minor_in(file_name(file));
    let wanted = match minor {
        Some(_) => Wanted::Runtime,
        None => Wanted::All,
    };
    let python_filename = PathBuf::from(format!("/proc/{pid}/exe"));
    let python_binary = match mapped(&maps, |path| path == executable) {
        Some(map) => parse(&python_filename, map, wanted).map(Some),
        None => Ok(None),
    };
    let (python_binary, libpython_binary) = match libpython {
        // The interpreter is in the library: the executable may be anything.
        Some(map) => {
            let parsed = parse(&path_of(pid, map), map, wanted)?;
            (python_binary.unwrap_or(None), Some(parsed))
        }
        None => (python_binary?, None),
    };
    if libpython_binary.is_none() && python_binary.is_none() {
        // It was executed after the link was read and before the mappings were. py-spy would panic.
        return Err("its executable is not mapped".into());
    }
    if libpython_binary.is_none() && python_binary.as_ref().is_some_and(|binary| binary.needs_library) {
        *awaited = Some(Awaited::Library);
        return Ok(None);
    }
    let mut info = PythonProcessInfo {
        python_binary: python_binary.map(|binary| binary.info),
        libpython_binary: libpython_binary.map(|binary| binary.info),
        maps: Box::new(maps),
        python_filename,
        dockerized: false, // matters only for shortening file names, which is off
    };
    if let Some(runtime) = runtime(&info) {
        let table = Table::read(&mut Pages::new(pid), runtime).map_err(io::Error::from)?;
        if let Some(table) = table {
            return told(pid, runtime, &table, awaited);
        }
    }
    if let Some(minor) = minor.filter(|minor| *minor >= OLDEST) {
        return Err(format!("it has no table of offsets as CPython 3.{minor} has").into());
    }
    let process = remoteprocess::Process::new(pid)?;
    *awaited = minor.and_then(|minor| interpreter(&info, minor));
    if awaited.is_some_and(|awaited| awaited.is_missing(pid)) {
        return Ok(None);
    }
    let version = match minor {
        Some(minor) => get_python_version(&named(minor), &process)?,
        None => get_python_version(&info, &process)?,
    };
    let layout = Some(version.minor)
        .filter(|_| version.major == 3)
        .and_then(Layout::of)
        .ok_or_else(|| format!("the layout of CPython {version} is not known"))?;
    if info.get_symbol(RUNTIME).is_some() {
        // It is there, or it is not set up yet. To search all data for it each time takes long.
        for binary in [&mut info.python_binary, &mut info.libpython_binary]
            .into_iter()
            .flatten()
        {
            // One word, as py-spy makes a slice of words of it, which none at all would not be aligned for.
            binary.bss_size = size_of::<usize>() as u64;
            (binary.pyruntime_addr, binary.pyruntime_size) = (0, 0);
        }
    }
    let interpreter_address = get_interpreter_address(&info, &process, &version)?;
    Ok(Some(Python {
        first: First::Is(interpreter_address as u64),
        layout,
    }))
}

/// One that tells where all is.
fn told(
    pid: i32,
    runtime: u64,
    table: &Table,
    awaited: &mut Option<Awaited>,
) -> Result<Option<Python>, Cause> {
    let first = runtime
        .checked_add(table.first())
        .ok_or("its table of offsets is not as CPython makes it")?;
    let interpreter = Awaited::Interpreter(first);
    *awaited = Some(interpreter);
    if interpreter.is_missing(pid) {
        return Ok(None);
    }
    Ok(Some(Python {
        first: First::At(first),
        layout: table.layout()?,
    }))
}

/// Where the runtime's state is: what is not exported is still in a section of its own.
fn runtime(info: &PythonProcessInfo) -> Option<u64> {
    let section = || {
        [&info.libpython_binary, &info.python_binary]
            .into_iter()
            .flatten()
            .map(|binary| binary.pyruntime_addr)
            .find(|address| *address != 0)
    };
    info.get_symbol(RUNTIME).copied().or_else(section)
}

/// The lowest executable mapping of a file.
fn mapped(maps: &[MapRange], wanted: impl Fn(&Path) -> bool) -> Option<&MapRange> {
    maps.iter()
        .filter(|map| map.is_exec() && map.filename().is_some_and(&wanted))
        .min_by_key(|map| map.offset)
}

/// `libpython3.11.so.1.0`, but not the stub `libpython3.so`, in which there is no interpreter.
fn is_libpython(path: &Path) -> bool {
    file_name(path)
        .strip_prefix("libpython3.")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(".so"))
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// A path by which the file of a mapping can be opened from here.
fn path_of(pid: i32, map: &MapRange) -> PathBuf {
    let named = map.filename().unwrap_or(Path::new(""));
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let below_root = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let in_chroot = fs::read_link(&root)
        .ok()
        .and_then(|root| named.strip_prefix(root).ok().map(below_root));
    // As seen from inside, as seen from here, and by the link that needs a capability (proc(5)).
    let candidates = [
        Some(below_root(named)),
        in_chroot,
        Some(named.to_owned()),
        Some(PathBuf::from(format!(
            "/proc/{pid}/map_files/{:x}-{:x}",
            map.start(),
            map.start() + map.size()
        ))),
    ];
    // In another root than the one that it was mapped in, where it is the same file by a link.
    let elsewhere = named
        .ancestors()
        .filter_map(|above| named.strip_prefix(above).ok())
        .map(below_root);
    let same = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.ino() == map.inode as u64);
    // If none is that file by its inode, as on some overlays, the error should name the plain path.
    candidates
        .into_iter()
        .flatten()
        .chain(elsewhere)
        .find(same)
        .unwrap_or_else(|| below_root(named))
}
