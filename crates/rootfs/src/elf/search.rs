//! Looks one name up in one directory, or in the cache, and remembers what was there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callgate_cache::{Part, saw};

use crate::elf::loader::{CACHE, Loader, usual_path};
use crate::elf::object::{Machine, Object, Parsed, parse};
use crate::resolve::Resolver;
use crate::view::View;

/// A file that would be loaded.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    /// The path the loader opens.
    pub(crate) asked: PathBuf,
    /// The same without symlinks.
    pub(crate) real: PathBuf,
    pub(crate) object: Arc<Object>,
    /// The same library for newer processors (`glibc-hwcaps`), which the loader may take instead.
    pub(crate) variants: Vec<PathBuf>,
    /// Found through the cache, in none of the loader's own directories.
    pub(crate) by_cache: bool,
}

/// The loader's eyes, with a memory.
pub(crate) struct Search<'v> {
    pub(crate) resolver: Resolver<'v>,
    objects: HashMap<PathBuf, Option<Arc<Object>>>,
    hits: HashMap<(PathBuf, Machine), HashMap<String, Option<Hit>>>,
    hwcaps: HashMap<PathBuf, Vec<PathBuf>>,
    loaders: HashMap<(Option<PathBuf>, Machine), Option<Arc<Loader>>>,
    pub(crate) notes: Vec<String>,
}

impl<'v> Search<'v> {
    pub(crate) fn new(resolver: Resolver<'v>) -> Self {
        Search {
            resolver,
            objects: HashMap::new(),
            hits: HashMap::new(),
            hwcaps: HashMap::new(),
            loaders: HashMap::new(),
            notes: Vec::new(),
        }
    }

    /// Puts objects that were read elsewhere (in parallel) into the memory.
    pub(crate) fn remember(&mut self, parsed: impl IntoIterator<Item = (PathBuf, Parsed)>) {
        for (real, parsed) in parsed {
            let object = self.judge(&real, parsed);
            self.objects.insert(real, object);
        }
    }

    fn judge(&mut self, real: &Path, parsed: Parsed) -> Option<Arc<Object>> {
        match parsed {
            Parsed::Elf(object) => Some(Arc::from(object)),
            Parsed::NotElf => None,
            Parsed::Bad(why) => {
                self.notes.push(format!("{} was skipped: {why}", real.display()));
                None
            }
        }
    }

    /// The object at `path`; `None` when there is no readable ELF file.
    pub(crate) fn object(&mut self, path: &Path) -> Option<(PathBuf, Arc<Object>)> {
        let (real, open_at) = self.resolver.file(path)?;
        if !self.objects.contains_key(&real) {
            saw(&open_at, Part::Whole);
            let object = self.judge(&real, parse(&open_at));
            self.objects.insert(real.clone(), object);
        }
        let object = self.objects.get(&real)?.clone()?;
        Some((real, object))
    }

    /// The loader that a program names, or the usual one of its kind of machine.
    pub(crate) fn loader(&mut self, interpreter: Option<&Path>, machine: Machine) -> Option<Arc<Loader>> {
        let key = (interpreter.map(Path::to_owned), machine);
        if !self.loaders.contains_key(&key) {
            let path = interpreter.or_else(|| usual_path(machine).map(Path::new));
            let loader =
                path.and_then(|path| Loader::open(&mut self.resolver, path, machine, &mut self.notes));
            self.loaders.insert(key.clone(), loader.map(Arc::new));
        }
        self.loaders.get(&key).cloned().flatten()
    }

    /// `name` in `dir`, if it is an object for `machine`. Others are passed over, as the loader does.
    pub(crate) fn in_directory(&mut self, dir: &Path, name: &str, machine: Machine) -> Option<Hit> {
        self.resolver.directory(dir)?;
        let key = (dir.to_owned(), machine);
        if let Some(known) = self.hits.get(&key).and_then(|names| names.get(name)) {
            return known.clone();
        }
        let mut variants: Vec<_> = self.hwcaps_of(dir).iter().map(|dir| dir.join(name)).collect();
        variants.retain(|path| {
            self.object(path)
                .is_some_and(|(_, object)| object.machine == machine)
        });
        let base = self.at(&dir.join(name), machine);
        let hit = match base {
            Some(base) => Some(Hit { variants, ..base }),
            // Only for newer processors: better than nothing.
            None => variants
                .pop()
                .and_then(|best| self.at(&best, machine))
                .map(|hit| Hit { variants, ..hit }),
        };
        self.hits
            .entry(key)
            .or_default()
            .insert(name.to_owned(), hit.clone());
        hit
    }

    /// The object at exactly this path, if it is for `machine`.
    pub(crate) fn at(&mut self, path: &Path, machine: Machine) -> Option<Hit> {
        let (real, object) = self.object(path)?;
        (object.machine == machine).then(|| Hit {
            asked: path.to_owned(),
            real,
            object,
            variants: Vec::new(),
            by_cache: false,
        })
    }

    /// `name` in the loader's cache.
    pub(crate) fn in_cache(&mut self, loader: &Loader, name: &str, machine: Machine) -> Option<Hit> {
        let mut best = None;
        let mut variants = Vec::new();
        for entry in loader.cache.named(name) {
            let Some(hit) = self.at(&entry.path, machine) else {
                continue;
            };
            match (entry.hwcap, &best) {
                (0, None) => best = Some(hit),
                (0, Some(_)) => {}
                _ => variants.push(hit.asked),
            }
        }
        let best = best?;
        let own = |dir: Option<&Path>| dir.is_some_and(|dir| loader.directories.iter().any(|own| own == dir));
        let by_cache = !own(best.asked.parent());
        Some(Hit {
            variants,
            by_cache,
            ..best
        })
    }

    fn hwcaps_of(&mut self, dir: &Path) -> Vec<PathBuf> {
        if let Some(known) = self.hwcaps.get(dir) {
            return known.clone();
        }
        let above = dir.join("glibc-hwcaps");
        let names = self
            .resolver
            .directory(&above)
            .map(|real| self.resolver.view().list(&real));
        let found: Vec<_> = names
            .unwrap_or_default()
            .into_iter()
            .map(|name| above.join(name))
            .collect();
        self.hwcaps.insert(dir.to_owned(), found.clone());
        found
    }
}

/// Reads many objects at once, each given by its path without symlinks and where this process can open it.
pub(crate) fn parse_all<'v>(view: &'v dyn View, objects: &[(PathBuf, PathBuf)]) -> Search<'v> {
    for (_, open_at) in objects {
        // Here, as the threads are not watched.
        saw(open_at, Part::Whole);
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let share = objects.len().div_ceil(threads).max(1);
    let read = |part: &[(PathBuf, PathBuf)]| -> Vec<_> {
        part.iter()
            .map(|(real, open_at)| (real.clone(), parse(open_at)))
            .collect()
    };
    let parsed: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = objects
            .chunks(share)
            .map(|part| std::thread::Builder::new().spawn_scoped(scope, move || read(part)))
            .collect();
        // A worker that died, or was never there, read nothing: its objects are read when they are asked for.
        workers
            .into_iter()
            .flatten()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    let mut search = Search::new(Resolver::new(view));
    search.remember(parsed);
    search
}

/// The loader's cache, which belongs in a root only when an object is found through it alone.
pub(crate) fn cache_path() -> &'static Path {
    Path::new(CACHE)
}
