//! One setting of the file: where it stands, and what its value can be.

use callgate_policy::import::yaml::Document;
use serde_json::Value;

use super::super::ConfigError;
use super::super::words::old_yes_or_no;
use super::KNOWN;

/// One setting of the file.
pub(super) struct Setting<'a> {
    pub(super) document: &'a Document,
    pub(super) name: &'a str,
    pub(super) key: &'a str,
    pub(super) value: &'a Value,
}

impl Setting<'_> {
    /// The file and the line.
    pub(super) fn place(&self) -> String {
        match self.document.line(self.key) {
            Some(line) => format!("{} line {line}", self.name),
            None => self.name.to_owned(),
        }
    }

    pub(super) fn unknown(&self) -> String {
        format!(
            "{}: the key {} is not known and has no effect; known are {}",
            self.place(),
            self.key,
            KNOWN.join(", ")
        )
    }

    pub(super) fn error(&self, what: impl std::fmt::Display) -> ConfigError {
        ConfigError {
            place: self.place(),
            what: format!("{}: {what}", self.key),
        }
    }

    pub(super) fn number<T>(&self, of: impl Fn(u64) -> Result<T, String>) -> Result<T, ConfigError> {
        let number = self
            .value
            .as_u64()
            .ok_or_else(|| "expected a whole number".to_owned());
        number.and_then(of).map_err(|what| self.error(what))
    }

    pub(super) fn yes_or_no(&self) -> Result<bool, ConfigError> {
        let said = match self.value {
            Value::String(word) => old_yes_or_no(word),
            value => value.as_bool(),
        };
        said.ok_or_else(|| self.error("expected true or false"))
    }

    /// Text; none if it is empty. What is a number or a truth value elsewhere is text as it is written: a key may
    /// be `0123`.
    pub(super) fn text(&self) -> Result<Option<String>, ConfigError> {
        match (self.value, self.document.written(self.key)) {
            (Value::String(text), _) if text.is_empty() => Ok(None),
            (Value::String(text), _) => Ok(Some(text.clone())),
            (_, Some(written)) => Ok(Some(written.to_owned())),
            _ => Err(self.error("expected text")),
        }
    }

    pub(super) fn words(&self) -> Result<Vec<String>, ConfigError> {
        let word = |value: &Value| match value {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.error(format!("{value} is neither a number nor a word"))),
        };
        self.value.as_array().into_iter().flatten().map(word).collect()
    }
}
