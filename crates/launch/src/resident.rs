//! An init that starts no command: a place for processes that come from elsewhere.

use std::io::Read;

use crate::launch::{Init, Launch, Started};
use crate::report::{Failure, Record};

impl Launch {
    /// Starts an init alone. [`Started::ready`] tells when its steps are done; it ends when it is killed, and
    /// with it, if it has a pid namespace, everything there.
    pub fn resident(init: Init) -> Self {
        Self::alone(Init {
            resident: true,
            ..init
        })
    }
}

impl Started {
    /// Waits until a [resident](Launch::resident) has done its steps. `Some` if one failed: it has ended then.
    ///
    /// # Errors
    /// If the pipe can't be read, or the resident ended without a word.
    pub fn ready(&mut self) -> std::io::Result<Option<Failure>> {
        let mut record = [0; Record::SIZE];
        let mut pipe = std::fs::File::from(self.reports.try_clone()?);
        pipe.read_exact(&mut record)?;
        let record = Record::from_bytes(&record);
        Ok((record.kind != Record::READY).then(|| self.launch.failure(record)))
    }
}
