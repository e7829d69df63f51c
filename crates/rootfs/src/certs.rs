//! The certificates that TLS libraries trust, and OpenSSL's configuration.

use std::path::{Path, PathBuf};

use callgate_cache::{Part, saw};

use crate::error::PlanError;
use crate::plan::Plan;

/// Where distributions keep what `/etc/ssl/certs` links to, one link per certificate.
const STORES: &[&str] = &["/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];

impl Plan {
    /// Adds certificate files and directories, and the `openssl.cnf` beside them. Private keys, which Debian has in
    /// `/etc/ssl/private`, stay out.
    ///
    /// # Errors
    /// Those of [`Plan::add_host`].
    pub fn add_certificates(&mut self, paths: &[PathBuf]) -> Result<(), PlanError> {
        for path in paths {
            if let Some(real) = self.add_host_if_there(path)? {
                if real.is_dir() && links_into_stores(&real) {
                    // As trees, or each certificate would be an entry of its own.
                    for store in STORES {
                        self.add_host_if_there(store)?;
                    }
                }
            }
            if let Some(dir) = path.parent() {
                self.add_host_if_there(dir.join("openssl.cnf"))?;
            }
        }
        Ok(())
    }
}

fn links_into_stores(dir: &Path) -> bool {
    saw(dir, Part::Whole);
    let Ok(entries) = dir.read_dir() else { return false };
    entries
        .flatten()
        .filter_map(|entry| entry.path().read_link().ok())
        .any(|target| STORES.iter().any(|store| target.starts_with(store)))
}
