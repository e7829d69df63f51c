//! What a root needs besides when the code may use the network: names of hosts, and whom to trust.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Entry;
use crate::elf::Closure;
use crate::error::PlanError;
use crate::plan::Plan;

/// Where TLS libraries of the distributions look for certificates: Debian and Alpine, Red Hat, SUSE, OpenSSL's own
/// default.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted/pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/usr/lib/ssl/cert.pem",
    "/usr/local/ssl/cert.pem",
];

/// Which server answers (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";
/// Names without a server (hosts(5)).
const HOSTS: &str = "/etc/hosts";
/// Numbers of services and protocols, and in which order addresses are tried (services(5), protocols(5),
/// gai.conf(5)).
const NUMBERS: [&str; 3] = ["/etc/services", "/etc/protocols", "/etc/gai.conf"];

/// What a host without [`HOSTS`] has in its root.
const LOCALHOST: &[u8] = b"127.0.0.1 localhost\n::1 localhost\n";

/// No such file is larger.
const LARGEST: u64 = 4 << 20;

impl Plan {
    /// Adds what programs need on the network: copies of `/etc/resolv.conf` and `/etc/hosts` as they are now (the
    /// host's may be links into `/run`, which no root has, and may be replaced while a run lasts), of
    /// `/etc/services`, `/etc/protocols` and `/etc/gai.conf` if they are there; certificates; and glibc's module
    /// for DNS, which it has within itself since 2.34. Which sources are asked is in every root
    /// (`/etc/nsswitch.conf`: files, then DNS).
    ///
    /// # Errors
    /// Those of [`Plan::add_host`].
    pub fn add_network(&mut self) -> Result<(), PlanError> {
        match read(Path::new(RESOLVER))? {
            Some(bytes) => self.add_text(RESOLVER, bytes)?,
            None => self.notes.push(format!(
                "the host has no {RESOLVER}: names are looked for in {HOSTS} and on this machine only"
            )),
        }
        let hosts = read(Path::new(HOSTS))?;
        self.add_text(HOSTS, hosts.unwrap_or_else(|| LOCALHOST.to_vec()))?;
        for path in NUMBERS {
            if let Some(bytes) = read(Path::new(path))? {
                self.add_text(path, bytes)?;
            }
        }
        let known: Vec<PathBuf> = CERTIFICATES.iter().map(PathBuf::from).collect();
        self.grow(|plan| plan.add_certificates(&known))?;
        self.add_dns_module()
    }

    fn add_text(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), PlanError> {
        // A root that was made from a trace may have the host's own file.
        if self.get(path).is_some() {
            return Ok(());
        }
        self.insert(path, Entry::Text { bytes, mode: 0o644 })
    }

    /// The module beside the root's libc, with what it needs.
    fn add_dns_module(&mut self) -> Result<(), PlanError> {
        let libc = self
            .iter()
            .find(|(at, _)| at.file_name() == Some("libc.so.6".as_ref()));
        let Some(directory) = libc.and_then(|(at, _)| at.parent()) else {
            return Ok(());
        };
        let module = directory.join("libnss_dns.so.2");
        if !module.exists() {
            return Ok(());
        }
        let main = self.python.as_ref().map(|python| python.executable.clone());
        let main = main.or(self.program.clone()).unwrap_or_default();
        let closure = Closure::of_host(&main, &[module]);
        for file in closure.files() {
            self.add_host(file)?;
        }
        Ok(())
    }
}

/// A file's bytes as they are now, whatever links lead to it; `None` if it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, PlanError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PlanError::io("reading", path)(error)),
    }
}
