//! Everything that a program and its modules load, as one set of files, and what they ask for in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::elf::missing::{self, Missing};
use crate::elf::scope::{Loaded, Scope, machine_of};
use crate::elf::search::{Hit, Search, cache_path};
use crate::view::{HostView, View};

/// One object of a closure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The paths the loader opens it by; each may go through symlinks.
    pub asked: BTreeSet<PathBuf>,
    /// The objects that name it in DT_NEEDED, by their path without symlinks; empty for what was started with.
    pub needed_by: BTreeSet<PathBuf>,
}

/// What is loaded, and what isn't found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Closure {
    /// The objects by their path without symlinks.
    pub objects: BTreeMap<PathBuf, Found>,
    /// Names that the loader won't find.
    pub missing: Vec<Missing>,
    /// Files that can't be read, search paths that can't be followed.
    pub notes: Vec<String>,
    /// Whether an object is found through `/etc/ld.so.cache` alone.
    pub(crate) needs_cache: bool,
}

/// What glibc loads by dlopen, so that no DT_NEEDED names it: without libgcc_s a thread that is cancelled or calls
/// `pthread_exit` aborts the process; libnss_files reads /etc/passwd (in libc itself since 2.34).
const BY_DLOPEN: &[&str] = &["libgcc_s.so.1", "libnss_files.so.2"];

/// What a closure starts from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// Programs, each a process of its own. The first one loads the modules.
    pub(crate) programs: Vec<PathBuf>,
    /// Objects that the first program loads by dlopen, such as Python's extension modules.
    pub(crate) modules: Vec<PathBuf>,
}

impl Closure {
    /// The closure of a program of this host and of the modules it loads at run time.
    ///
    /// Paths are absolute. What isn't an ELF file adds nothing.
    ///
    /// ```
    /// use callgate_rootfs::Closure;
    ///
    /// let closure = Closure::of_host("/bin/sh".as_ref(), &[]);
    /// assert!(closure.objects.keys().any(|path| path.to_str().unwrap().contains("libc.so")));
    /// assert!(closure.missing.is_empty());
    /// ```
    pub fn of_host(program: &Path, modules: &[PathBuf]) -> Closure {
        let view = HostView::host();
        let needs = Needs {
            programs: vec![program.to_owned()],
            modules: modules.to_vec(),
        };
        closure(&view, Search::new(crate::resolve::Resolver::new(&view)), &needs)
    }
}

/// The closure in any view; `search` may have read objects already.
pub(crate) fn closure(view: &dyn View, search: Search<'_>, needs: &Needs) -> Closure {
    let mut work = Work {
        search,
        out: Closure::default(),
        missing: BTreeSet::new(),
    };
    let mut main = Scope::default();
    for (index, program) in needs.programs.iter().enumerate() {
        let scope = work.program(program);
        if index == 0 {
            main = scope;
        }
    }
    work.modules(&main, &needs.modules);
    let Work {
        search,
        mut out,
        missing,
    } = work;
    out.missing = missing::locate(view, missing, out.objects.keys());
    out.notes = search.notes;
    out
}

struct Work<'v> {
    search: Search<'v>,
    out: Closure,
    missing: BTreeSet<(String, PathBuf)>,
}

impl Work<'_> {
    fn program(&mut self, path: &Path) -> Scope {
        let mut scope = Scope::default();
        let Some((real, object)) = self.search.object(path) else {
            return scope;
        };
        let machine = object.machine;
        let interpreter = object.interpreter.clone();
        // The kernel gives the program's real path as its origin.
        scope.add(
            Hit {
                asked: real.clone(),
                real,
                object,
                variants: Vec::new(),
                by_cache: false,
            },
            None,
        );
        if let Some(interpreter) = &interpreter {
            // Loaded by the kernel, before anything else, so its soname is known from the start.
            match self.search.at(interpreter, machine) {
                Some(hit) => {
                    scope.add(hit, Some(0));
                }
                None => self.absent(&scope.loaded[0], &interpreter.to_string_lossy()),
            }
        }
        self.load(&mut scope, 0, interpreter.as_deref());
        if interpreter.is_some() {
            self.by_dlopen(&scope, interpreter.as_deref());
        }
        scope
    }

    fn modules(&mut self, main: &Scope, modules: &[PathBuf]) {
        let interpreter = main
            .loaded
            .first()
            .and_then(|program| program.object.interpreter.clone());
        // Libraries of a wheel (`numpy.libs/lib….so`) inherit search paths from who loads them, so modules go first,
        // and of the rest only what no module has led to is a start of its own.
        let is_library = |path: &&PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy());
            name.is_none_or(|name| name.starts_with("lib") || !name.ends_with(".so"))
        };
        let (libraries, modules): (Vec<_>, Vec<_>) = modules.iter().partition(is_library);
        for path in modules.into_iter().chain(libraries) {
            let Some((real, object)) = self.search.object(path) else {
                continue;
            };
            if self.out.objects.contains_key(&real) {
                continue;
            }
            let same = machine_of(main) == Some(object.machine);
            let mut scope = if same { main.clone() } else { Scope::default() };
            let loaded_by = scope.module_loader();
            let first = scope.loaded.len();
            let hit = Hit {
                asked: path.clone(),
                real,
                object,
                variants: Vec::new(),
                by_cache: false,
            };
            scope.add(hit, loaded_by);
            self.load(&mut scope, first, interpreter.as_deref().filter(|_| same));
        }
    }

    /// Loads what the objects from `first` on need and adds them to the closure.
    fn load(&mut self, scope: &mut Scope, first: usize, interpreter: Option<&Path>) {
        let Some(machine) = scope.loaded.get(first).map(|loaded| loaded.object.machine) else {
            return;
        };
        let loader = self.search.loader(interpreter, machine);
        let mut absent = Vec::new();
        scope.load_needs(first, loader.as_deref(), &mut self.search, &mut |by, name| {
            absent.push((name.to_owned(), by.real.clone()));
        });
        self.missing.extend(absent);
        for loaded in &scope.loaded[first..] {
            self.out.needs_cache |= loaded.by_cache;
            let found = self.out.objects.entry(loaded.real.clone()).or_default();
            found.asked.insert(loaded.asked.clone());
            if let Some(by) = scope.needer(loaded) {
                found.needed_by.insert(by);
            }
        }
    }

    fn by_dlopen(&mut self, scope: &Scope, interpreter: Option<&Path>) {
        let Some(machine) = machine_of(scope) else { return };
        let Some(loader) = self.search.loader(interpreter, machine) else {
            return;
        };
        let mut scope = scope.clone();
        for name in BY_DLOPEN {
            let cached = self.search.in_cache(&loader, name, machine);
            let hit = cached.or_else(|| {
                loader
                    .directories
                    .iter()
                    .find_map(|dir| self.search.in_directory(dir, name, machine))
            });
            let first = scope.loaded.len();
            match hit {
                Some(hit) => {
                    scope.add(hit, None);
                    self.load(&mut scope, first, interpreter);
                }
                None if *name == BY_DLOPEN[0] => self.note(format!(
                    "{name} was not found: a thread that is cancelled or calls pthread_exit will abort the process \
                     (on Debian: apt install libgcc-s1)"
                )),
                None => {}
            }
        }
    }

    fn absent(&mut self, by: &Loaded, name: &str) {
        self.missing.insert((name.to_owned(), by.real.clone()));
    }

    fn note(&mut self, note: String) {
        if !self.search.notes.contains(&note) {
            self.search.notes.push(note);
        }
    }
}

impl Closure {
    /// The files to be in a root for this closure, by the paths they are opened by.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let cache = self.needs_cache.then(cache_path);
        self.objects
            .values()
            .flat_map(|found| &found.asked)
            .map(PathBuf::as_path)
            .chain(cache)
    }
}
