//! YAML → JSON values, with the line of each.
//!
//! saphyr-parser (of the kept YAML crates the one that builds with rustc 1.85, tells every event's line and
//! brings no other crates) makes the events. Anchors, aliases, tags and merge keys are refused: policies need
//! none, and an alias can make a small file huge.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use serde_json::{Map, Number, Value};

use super::ImportError;

/// How deep values may lie in one another. A profile's lie 6 deep.
const DEEPEST: usize = 32;

/// A document.
pub struct Document {
    /// What it says.
    pub value: Value,
    lines: BTreeMap<String, usize>,
    words: BTreeMap<String, String>,
}

impl Document {
    /// The number or truth value at a path as it is written: where text is meant, `0123` is not 123.
    pub fn written(&self, path: &str) -> Option<&str> {
        self.words.get(path).map(String::as_str)
    }

    /// The line of a path (`spec.syscalls[3]`), from 1, or of what is around it.
    pub fn line(&self, path: &str) -> Option<usize> {
        let mut around = path;
        loop {
            match (self.lines.get(around), around.rfind(['.', '['])) {
                (Some(line), _) => return Some(*line),
                (None, Some(end)) => around = &around[..end],
                (None, None) => return self.lines.get("").copied(),
            }
        }
    }

    /// An error at a path, with its line.
    pub fn fault(&self, path: &str, what: impl Into<String>) -> ImportError {
        let line = self.line(path);
        let path = if path.is_empty() {
            "the top".to_owned()
        } else {
            path.to_owned()
        };
        ImportError::Place {
            path,
            line,
            what: what.into(),
        }
    }
}

/// The documents of a text.
///
/// # Errors
/// [`ImportError::Line`] for what is not YAML, is refused here, or stands twice.
pub fn documents(text: &str) -> Result<Vec<Document>, ImportError> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        lines: BTreeMap::new(),
        words: BTreeMap::new(),
    };
    let mut found = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(found),
            (Event::DocumentStart(_), _) => {
                let (event, span) = reader.next()?;
                let value = reader.value(event, span, String::new(), 0)?;
                found.push(Document {
                    value,
                    lines: std::mem::take(&mut reader.lines),
                    words: std::mem::take(&mut reader.words),
                });
            }
            _ => {}
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    lines: BTreeMap<String, usize>,
    words: BTreeMap<String, String>,
}

fn fault(line: usize, what: impl Into<String>) -> ImportError {
    ImportError::Line {
        file: None,
        line,
        what: what.into(),
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ImportError> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(fault(
                error.marker().line(),
                format!("not YAML: {}", error.info()),
            )),
            None => Err(fault(1, "not YAML: it ends in the middle")),
        }
    }

    fn value(
        &mut self,
        event: Event<'a>,
        span: Span,
        path: String,
        depth: usize,
    ) -> Result<Value, ImportError> {
        let line = span.start.line();
        if depth > DEEPEST {
            return Err(fault(
                line,
                format!("values lie more than {DEEPEST} deep in one another"),
            ));
        }
        self.lines.insert(path.clone(), line);
        match event {
            Event::Scalar(text, style, 0, None) => {
                let value = scalar(&text, style);
                if value.is_number() || value.is_boolean() {
                    self.words.insert(path, text.into_owned());
                }
                Ok(value)
            }
            Event::SequenceStart(0, None) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => return Ok(Value::Array(list)),
                        (event, span) => {
                            let path = format!("{path}[{}]", list.len());
                            list.push(self.value(event, span, path, depth + 1)?);
                        }
                    }
                }
            }
            Event::MappingStart(0, None) => {
                let mut map = Map::new();
                loop {
                    let (key, at) = match self.next()? {
                        (Event::MappingEnd, _) => return Ok(Value::Object(map)),
                        (Event::Scalar(key, _, 0, None), span) if key != "<<" => {
                            (key.into_owned(), span.start.line())
                        }
                        (_, span) => return Err(fault(span.start.line(), "a key that is no plain word")),
                    };
                    if map.contains_key(&key) {
                        return Err(fault(
                            at,
                            format!("the key {key:?} for the second time: keep one"),
                        ));
                    }
                    let (event, span) = self.next()?;
                    let inner = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    let value = self.value(event, span, inner.clone(), depth + 1)?;
                    self.lines.insert(inner, at);
                    map.insert(key, value);
                }
            }
            _ => Err(fault(
                line,
                "anchors, aliases and tags are not read here: write out what they stand for",
            )),
        }
    }
}

/// A scalar by YAML's core schema.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::from(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let whole = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).ok(),
        (_, Some(digits)) => u64::from_str_radix(digits, 8).ok(),
        _ => text.parse::<u64>().ok(),
    };
    let number = whole
        .map(Number::from)
        .or_else(|| text.parse::<i64>().ok().map(Number::from));
    number.map_or_else(|| Value::from(text), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_and_know_their_lines() {
        let all =
            documents("# c\na: [1, 0x10, -3, '4', yes]\nb:\n- c: null\n  d: 18446744073709551615\n---\nx\n")
                .unwrap();
        assert_eq!(
            all[0].value,
            json!({"a": [1, 16, -3, "4", "yes"], "b": [{"c": null, "d": u64::MAX}]})
        );
        assert_eq!(all[1].value, json!("x"));
        let written = [
            all[0].written("a[1]"),
            all[0].written("a[3]"),
            all[0].written("b[0].d"),
        ];
        assert_eq!(written, [Some("0x10"), None, Some("18446744073709551615")]);
        let told = all[0].fault("b[0].d.nothing", "bad").to_string();
        assert_eq!(told, "at b[0].d.nothing, line 5: bad");
    }

    #[test]
    fn what_could_grow_or_hide_is_refused() {
        for (text, part) in [
            ("a: &x 1\nb: *x\n", "line 1: anchors"),
            ("a: !!str 1\n", "line 1: anchors"),
            ("a: 1\na: 2\n", "line 2: the key \"a\" for the second time"),
            ("a: [1\nb", "not YAML"),
            ("{a: {<<: {b: 1}}}", "no plain word"),
        ] {
            let told = documents(text).map(|_| ()).unwrap_err().to_string();
            assert!(told.contains(part), "{text:?}: {told}");
        }
        let deep = "[".repeat(5000);
        assert!(documents(&deep).is_err());
        assert!(documents(&format!("{}{}", "[".repeat(40), "]".repeat(40))).is_err());
    }
}
