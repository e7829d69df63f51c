//! Recalls a finding, or finds it out and keeps it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ahead::Ahead;
use crate::file::{self, Unusable, hex};
use crate::seen::watched;
use crate::state::{Witnesses, hold};
use crate::trust;

/// Findings of earlier runs, in a directory of ours.
#[derive(Debug, Default)]
pub struct Cache {
    place: Option<Place>,
    notes: Mutex<Vec<String>>,
    /// What findings rest on that are used already, if that is asked for.
    ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    dir: OwnedFd,
    /// Who found it out: another build of this program may find otherwise.
    finder: String,
}

/// A finding as it is kept, apart from what it rests on ([`Witnesses`]).
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    finder: String,
    kind: String,
    key: String,
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
                ..Self::none()
            },
            Err(why) => {
                let cache = Self::none();
                cache.note(format!("the cache {} is not used: {why}", path.display()));
                cache
            }
        }
    }

    /// Hands out what is kept without looking whether it is as fresh as it should be. Before anything is done that
    /// can't be undone, [`Cache::holds`] has to be asked.
    #[must_use]
    pub fn ahead(self) -> Self {
        Self {
            ahead: Some(Ahead::default()),
            ..self
        }
    }

    /// Looks whether everything that has been handed out still holds. If not, all that was made of it has to be given
    /// up, and asked for again of a cache that is not [`ahead`](Cache::ahead). Always true of one that isn't.
    pub fn holds(&self) -> bool {
        self.ahead.as_ref().is_none_or(Ahead::holds)
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
        // Another build's findings, which can have another form, go by other names.
        let digest = Sha256::new()
            .chain_update(&place.finder)
            .chain_update(&key)
            .finalize();
        let name = format!("{kind}-{}", &hex(&digest)[..32]);
        let known = |kept: &Kept<T>| kept.finder == place.finder && kept.kind == kind && kept.key == key;
        match file::read(&place.dir, &name) {
            Ok(None) => {}
            Ok(Some(file)) => match serde_json::from_slice::<Kept<T>>(&file.finding) {
                Ok(kept) => match known(&kept).then(|| self.fresh(file)) {
                    Some(Ok(true)) => return Ok(kept.finding),
                    Some(Ok(false)) | None => {}
                    Some(Err(why)) => self.pass_over(place, &name, &why.to_string()),
                },
                // Another build may have written other fields.
                Err(_) if !of_finder(&file.finding, &place.finder) => {}
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
                finding,
            };
            let written = serde_json::to_vec(&kept)
                .and_then(|mut finding| {
                    // For people, and for who reads it by lines.
                    finding.push(b'\n');
                    Ok((finding, serde_json::to_vec(&rests_on)?))
                })
                .map_err(io::Error::from)
                .and_then(|(finding, rests_on)| file::write(&place.dir, &name, &finding, &rests_on));
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

    /// Whether all that it rests on is as it was; where we are ahead, that is looked at later.
    fn fresh(&self, file: file::Kept) -> Result<bool, Unusable> {
        match &self.ahead {
            Some(ahead) => ahead.leave(file),
            None => holds(&file),
        }
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

/// Whether all that a kept finding rests on is as it was. What can't be understood does not hold.
pub(crate) fn holds(file: &file::Kept) -> Result<bool, Unusable> {
    let rests_on = file.rests_on()?;
    Ok(hold(&rests_on).unwrap_or(false))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Part, saw};

    fn length(cache: &Cache, of: &Path) -> u64 {
        let look = || -> io::Result<u64> {
            saw(of, Part::Whole);
            Ok(std::fs::metadata(of)?.len())
        };
        cache.recall("length", &of, look).unwrap()
    }

    #[test]
    fn what_is_handed_out_ahead_is_told_when_it_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        let (place, file) = (dir.path().join("found"), dir.path().join("file"));
        std::fs::write(&file, "four").unwrap();
        // What has just changed is not kept.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(length(&Cache::open(&place), &file), 4);
        let ahead = Cache::open(&place).ahead();
        assert_eq!(length(&ahead, &file), 4);
        assert!(ahead.holds());
        std::fs::write(&file, "longer").unwrap();
        // What has been seen to hold was handed out in time; what is handed out from now on is not.
        assert!(ahead.holds());
        assert_eq!(length(&ahead, &file), 4);
        assert!(!ahead.holds() && !ahead.holds());
        let patient = Cache::open(&place);
        assert_eq!(length(&patient, &file), 6);
        assert!(patient.holds());
    }
}
