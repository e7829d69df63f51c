//! What an environment was built for, and the file in it that says that it is complete.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{self, EnvironmentError};
use super::tool::Tool;
use crate::interpreter::{Interpreter, Version};
use crate::metadata::ScriptMetadata;

/// Changes whenever environments of an older callgate must not be used any more.
const FORMAT: &str = "callgate.environment/1";

/// The request that an environment answers, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    schema: String,
    tool: Tool,
    base: PathBuf,
    version: Version,
    requires_python: Option<String>,
    /// Trimmed, sorted, each once.
    pub dependencies: Vec<String>,
    /// What is installed, `name==version`, sorted; not part of the request.
    pub packages: Vec<String>,
}

impl Record {
    /// The record of an environment that is not built yet.
    pub fn wanted(metadata: &ScriptMetadata, base: &Interpreter, tool: Tool) -> Self {
        let mut dependencies: Vec<String> = metadata
            .dependencies
            .iter()
            .map(|text| text.trim().to_owned())
            .collect();
        dependencies.sort();
        dependencies.dedup();
        Self {
            schema: FORMAT.to_owned(),
            tool,
            base: base.real_executable.clone(),
            version: base.version,
            requires_python: metadata.requires_python.clone(),
            dependencies,
            packages: Vec::new(),
        }
    }

    pub fn same_request(&self, other: &Self) -> bool {
        Self {
            packages: Vec::new(),
            ..self.clone()
        } == Self {
            packages: Vec::new(),
            ..other.clone()
        }
    }

    /// The directory's name: the version, for people, and a hash of the whole request.
    pub fn directory_name(&self) -> String {
        let mut hash = Sha256::new();
        let version = self.version.to_string();
        let requires = self.requires_python.as_deref().unwrap_or_default();
        let fields = [self.schema.as_str(), self.tool.name(), &version, requires];
        let fields = fields
            .into_iter()
            .map(str::as_bytes)
            .chain([self.base.as_os_str().as_encoded_bytes()]);
        for field in fields.chain(self.dependencies.iter().map(|text| text.as_bytes())) {
            // With their lengths, so that no two requests run together into the same bytes.
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        let digest: String = hash
            .finalize()
            .iter()
            .take(10)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!(
            "python{}_{}_{}-{digest}",
            self.version.major, self.version.minor, self.version.micro
        )
    }

    /// Reads the record of the environment at `path`; `None` if that is not there or not complete.
    pub fn read(path: &Path) -> Result<Option<Self>, EnvironmentError> {
        let file = file_in(path);
        match fs::read(&file) {
            // Of another format, it is not a record of an environment that this version can use.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error::file("read", &file)(error)),
        }
    }

    /// Marks the environment at `path` as complete: written whole, by rename.
    pub fn complete(mut self, packages: &[String], path: &Path) -> Result<(), EnvironmentError> {
        self.packages = packages.to_owned();
        let file = file_in(path);
        let mut json = serde_json::to_vec_pretty(&self)
            .map_err(io::Error::from)
            .map_err(error::file("write", &file))?;
        json.push(b'\n');
        let write = || {
            let mut temporary = tempfile::NamedTempFile::new_in(path)?;
            temporary.write_all(&json)?;
            temporary.persist(&file).map_err(|failed| failed.error)?;
            Ok(())
        };
        write().map_err(error::file("write", &file))
    }
}

fn file_in(environment: &Path) -> PathBuf {
    environment.join("callgate-environment.json")
}
