//! Recalls a finding, or finds it out and keeps it.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::file::{self, hex};
use crate::seen::watched;
use crate::state::Witnesses;
use crate::trust;

/// Findings of earlier runs, in a directory of ours.
#[derive(Debug, Default)]
pub struct Cache {
    place: Option<Place>,
    notes: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    dir: OwnedFd,
    /// Who found it out: another build of this program may find otherwise.
    finder: String,
}

/// A finding as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    finder: String,
    kind: String,
    key: String,
    rests_on: Witnesses,
    finding: T,
}

impl Cache {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// What is kept in this directory, which is made if need be. One that is not ours alone is not used, and a
    /// note says so.
    pub fn open(path: &Path) -> Self {
        match trust::ours(path) {
            Ok(dir) => Self {
                place: Some(Place {
                    path: path.to_owned(),
                    dir,
                    finder: finder(),
                }),
                notes: Mutex::default(),
            },
            Err(why) => {
                let cache = Self::none();
                cache.note(format!("the cache {} is not used: {why}", path.display()));
                cache
            }
        }
    }

    /// Whether anything is kept.
    pub fn keeps(&self) -> bool {
        self.place.is_some()
    }

    /// What was passed over and why, in sentences, since the last time this was asked.
    pub fn notes(&self) -> Vec<String> {
        self.notes
            .lock()
            .map(|mut notes| std::mem::take(&mut *notes))
            .unwrap_or_default()
    }

    /// The finding of this kind for this key. What an earlier run found is used if all that it rests on is as it was;
    /// else `look` finds it out, and it is kept. `look` has to [`saw`](crate::saw) each path that it looks at, on
    /// the calling thread; everything else that it depends on belongs into the key.
    ///
    /// # Errors
    /// Those of `look`, of which none is kept. A cache that can't be used is no error: see [`Cache::notes`].
    pub fn recall<T, E>(
        &self,
        kind: &str,
        key: &impl Serialize,
        look: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        let (Some(place), Ok(key)) = (&self.place, serde_json::to_string(key)) else {
            return look();
        };
        let name = format!("{kind}-{}", &hex(&Sha256::digest(&key))[..32]);
        let known = |kept: &Kept<T>| kept.finder == place.finder && kept.kind == kind && kept.key == key;
        match file::read(&place.dir, &name) {
            Ok(None) => {}
            Ok(Some(text)) => match serde_json::from_slice::<Kept<T>>(&text) {
                Ok(kept) if known(&kept) && kept.rests_on.hold() => return Ok(kept.finding),
                // Old, or another build's.
                Ok(_) => {}
                // Another build may have written other fields.
                Err(_) if !of_finder(&text, &place.finder) => {}
                Err(error) => self.pass_over(place, &name, &format!("it is damaged ({error})")),
            },
            Err(why) => self.pass_over(place, &name, &why.to_string()),
        }
        let begun = SystemTime::now();
        let (found, seen) = watched(look);
        let finding = found?;
        if let Some(rests_on) = Witnesses::take(&seen, begun) {
            let kept = Kept {
                finder: place.finder.clone(),
                kind: kind.to_owned(),
                key,
                rests_on,
                finding,
            };
            let written = serde_json::to_vec(&kept)
                .map_err(|error| error.to_string())
                .and_then(|text| file::write(&place.dir, &name, &text).map_err(|error| error.to_string()));
            if let Err(error) = written {
                self.note(format!(
                    "{} can't be kept: {error}",
                    place.path.join(&name).display()
                ));
            }
            return Ok(kept.finding);
        }
        Ok(finding)
    }

    fn pass_over(&self, place: &Place, name: &str, why: &str) {
        self.note(format!("{} is not used: {why}", place.path.join(name).display()));
    }

    fn note(&self, note: String) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(note);
        }
    }
}

/// Whether a text that can't be read is at least of this finder.
fn of_finder(text: &[u8], finder: &str) -> bool {
    #[derive(Deserialize)]
    struct Who {
        finder: String,
    }
    serde_json::from_slice::<Who>(text).is_ok_and(|who| who.finder == finder)
}

/// This build of this program.
fn finder() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match std::fs::metadata("/proc/self/exe") {
        Ok(data) => format!(
            "{version} {} {} {} {}.{}",
            data.dev(),
            data.ino(),
            data.size(),
            data.mtime(),
            data.mtime_nsec()
        ),
        Err(_) => version.to_owned(),
    }
}
