//! One process as the loader sees it: what is loaded, by which names, and where the next name is looked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf::loader::Loader;
use crate::elf::object::{Machine, Object};
use crate::elf::search::{Hit, Search};

/// A loaded object.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The path it was opened by: `$ORIGIN` is its directory.
    pub(crate) asked: PathBuf,
    pub(crate) real: PathBuf,
    pub(crate) object: Arc<Object>,
    /// The object that asked for it; `None` for the program.
    loaded_by: Option<usize>,
    /// Whether that one names it in DT_NEEDED; false for modules, which it loads by dlopen.
    named_by_loader: bool,
    /// See [`Hit::by_cache`].
    pub(crate) by_cache: bool,
}

/// All that is loaded in one process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) loaded: Vec<Loaded>,
    names: HashMap<String, usize>,
    files: HashMap<PathBuf, usize>,
}

impl Scope {
    /// Adds an object and returns its index; one that is loaded already keeps its first place.
    pub(crate) fn add(&mut self, hit: Hit, loaded_by: Option<usize>) -> usize {
        let named_by_loader = loaded_by.and_then(|by| self.loaded.get(by)).is_some_and(|by| {
            let name = hit.asked.file_name().map(|name| name.to_string_lossy());
            name.is_some_and(|name| by.object.needed.iter().any(|needed| *needed == name))
        });
        let index = match self.files.get(&hit.real) {
            Some(index) => *index,
            None => {
                self.files.insert(hit.real.clone(), self.loaded.len());
                self.loaded.push(Loaded {
                    asked: hit.asked.clone(),
                    real: hit.real,
                    object: Arc::clone(&hit.object),
                    loaded_by,
                    named_by_loader,
                    by_cache: hit.by_cache,
                });
                self.loaded.len() - 1
            }
        };
        if let Some(soname) = &hit.object.soname {
            self.names.entry(soname.clone()).or_insert(index);
        }
        index
    }

    /// Who asked for this object first, by its path without symlinks.
    pub(crate) fn needer(&self, loaded: &Loaded) -> Option<PathBuf> {
        let by = self.loaded.get(loaded.loaded_by?)?;
        loaded.named_by_loader.then(|| by.real.clone())
    }

    /// The object that modules are loaded by: libpython where Python is in a library, else the program.
    pub(crate) fn module_loader(&self) -> Option<usize> {
        let is_libpython = |loaded: &Loaded| {
            loaded
                .object
                .soname
                .as_ref()
                .is_some_and(|soname| soname.starts_with("libpython"))
        };
        self.loaded
            .iter()
            .position(is_libpython)
            .or((!self.loaded.is_empty()).then_some(0))
    }

    /// Loads what the objects from `first` on need, breadth first. Calls `absent` with each object and name that
    /// isn't found.
    pub(crate) fn load_needs(
        &mut self,
        first: usize,
        loader: Option<&Loader>,
        search: &mut Search<'_>,
        absent: &mut dyn FnMut(&Loaded, &str),
    ) {
        let mut at = first;
        while at < self.loaded.len() {
            let object = Arc::clone(&self.loaded[at].object);
            for name in &object.needed {
                if self.names.contains_key(name) {
                    continue;
                }
                match self.find(at, name, loader, search) {
                    Some(hit) => {
                        let variants = hit.variants.clone();
                        let index = self.add(hit, Some(at));
                        self.names.entry(name.clone()).or_insert(index);
                        for variant in variants {
                            if let Some(hit) = search.at(&variant, object.machine) {
                                self.add(hit, Some(at));
                            }
                        }
                    }
                    None => absent(&self.loaded[at], name),
                }
            }
            at += 1;
        }
    }

    /// The order of ld.so(8) and `_dl_map_object`.
    fn find(&self, by: usize, name: &str, loader: Option<&Loader>, search: &mut Search<'_>) -> Option<Hit> {
        let machine = self.loaded[by].object.machine;
        if name.contains('/') {
            // With a slash it is a path, and no directory is searched.
            let path = expand(name, &self.loaded[by], loader)?;
            return path.is_absolute().then(|| search.at(&path, machine))?;
        }
        for dir in self.own_directories(by, loader, search) {
            if let Some(hit) = search.in_directory(&dir, name, machine) {
                return Some(hit);
            }
        }
        let loader = loader.filter(|_| !self.loaded[by].object.no_default)?;
        search.in_cache(loader, name, machine).or_else(|| {
            loader
                .directories
                .iter()
                .find_map(|dir| search.in_directory(dir, name, machine))
        })
    }

    /// DT_RUNPATH of the object alone, or else DT_RPATH of it and of all its loaders.
    fn own_directories(&self, by: usize, loader: Option<&Loader>, search: &mut Search<'_>) -> Vec<PathBuf> {
        let mut out = Vec::new();
        let mut list = |loaded: &Loaded, paths: &str| {
            for path in paths.split(':') {
                match expand(path, loaded, loader) {
                    Some(dir) if dir.is_absolute() => out.push(dir),
                    _ => note_relative(search, loaded, path),
                }
            }
        };
        let first = &self.loaded[by];
        if let Some(runpath) = &first.object.runpath {
            list(first, runpath);
            return out;
        }
        let mut at = Some(by);
        while let Some(loaded) = at.and_then(|at| self.loaded.get(at)) {
            if let Some(rpath) = &loaded.object.rpath {
                list(loaded, rpath);
            }
            at = loaded.loaded_by;
        }
        out
    }
}

/// An empty or relative entry means the current directory, whatever that will be: never searched here.
fn note_relative(search: &mut Search<'_>, loaded: &Loaded, path: &str) {
    let note = format!(
        "{} has the search path {path:?}, which depends on the current directory: not searched",
        loaded.real.display()
    );
    if !search.notes.contains(&note) {
        search.notes.push(note);
    }
}

/// Fills in `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces.
fn expand(path: &str, loaded: &Loaded, loader: Option<&Loader>) -> Option<PathBuf> {
    if !path.contains('$') {
        return Some(PathBuf::from(path));
    }
    let origin = loaded.asked.parent().unwrap_or(Path::new("/")).to_str()?;
    let mut out = path.to_owned();
    let values = [
        ("ORIGIN", origin),
        ("LIB", loader.map_or("lib", |loader| &loader.lib)),
        ("PLATFORM", loader.map_or("", |loader| loader.platform)),
    ];
    for (name, value) in values {
        out = out
            .replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value);
    }
    Some(PathBuf::from(out))
}

/// The kinds of machine among what is loaded.
pub(crate) fn machine_of(scope: &Scope) -> Option<Machine> {
    scope.loaded.first().map(|loaded| loaded.object.machine)
}
