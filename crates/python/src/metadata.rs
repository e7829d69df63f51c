//! PEP 723: the `# /// script` block in which a script says what it needs.

use std::ops::Range;

use serde::Deserialize;

/// What a script asks for in its `# /// script` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptMetadata {
    /// `requires-python`, a PEP 440 version specifier, as written.
    pub requires_python: Option<String>,
    /// `dependencies`, PEP 508 requirements in the order in which they stand.
    pub dependencies: Vec<String>,
}

/// Why a `# /// script` block can't be used. Lines count from 1, in the script.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// More than one block: PEP 723 forbids it.
    #[error("lines {first} and {second} both open a `# /// script` block: keep one")]
    Repeated {
        /// The line of the first block's opening.
        first: usize,
        /// The line of the second block's opening.
        second: usize,
    },
    /// The comment lines end, and none of them is `# ///`.
    #[error("line {line}: the `# /// script` block is not closed: end it with a line `# ///`")]
    Unclosed {
        /// The line of the block's opening.
        line: usize,
    },
    /// The block's text is not UTF-8.
    #[error("line {line}: the `# /// script` block is not UTF-8")]
    Encoding {
        /// The first line that isn't.
        line: usize,
    },
    /// The block's text is not TOML, or a key has the wrong type.
    #[error("line {line}: in the `# /// script` block: {message}")]
    Toml {
        /// The line of the fault.
        line: usize,
        /// What is wrong there, in the parser's words.
        message: String,
    },
    /// A dependency that an installer would take for something else than a requirement.
    #[error(
        "line {line}: dependencies[{index}] is {text:?}: {why}; write a requirement such as \"numpy>=2\""
    )]
    Dependency {
        /// The line of the dependency.
        line: usize,
        /// Its place in the list, from 0.
        index: usize,
        /// Its text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The keys of the block that callgate reads. Others, `[tool]` first of all, belong to others.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "requires-python")]
    requires_python: Option<String>,
    #[serde(default)]
    dependencies: Vec<toml::Spanned<String>>,
}

impl ScriptMetadata {
    /// Reads the `script` block of a script; `None` if there is none.
    ///
    /// Blocks are found as the regular expression in PEP 723 finds them: an opening line
    /// `# /// TYPE`, then lines that are `#` or begin with `# `, of which the last `# ///` closes the
    /// block. Blocks of other types are skipped, and ignored if unclosed; an unclosed `script` block
    /// is an error, since the script would run without what it asks for.
    ///
    /// # Errors
    /// [`MetadataError`], which names the line.
    pub fn read(source: &[u8]) -> Result<Option<Self>, MetadataError> {
        let lines: Vec<&[u8]> = source
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .collect();
        let Some(content) = find(&lines)? else {
            return Ok(None);
        };
        let first = content.start;
        let mut text = String::new();
        for (line, bytes) in content.clone().zip(&lines[content]) {
            let bytes = bytes.strip_prefix(b"# ").unwrap_or_else(|| &bytes[1..]);
            text += std::str::from_utf8(bytes).map_err(|_| MetadataError::Encoding { line: line + 1 })?;
            text.push('\n');
        }
        let line_at = |offset: usize| first + 1 + text[..offset.min(text.len())].matches('\n').count();
        let block: Block = toml::from_str(&text).map_err(|error| MetadataError::Toml {
            line: line_at(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut dependencies = Vec::new();
        for (index, dependency) in block.dependencies.into_iter().enumerate() {
            let line = line_at(dependency.span().start);
            let text = dependency.into_inner();
            match fault(&text) {
                Some(why) => {
                    return Err(MetadataError::Dependency {
                        line,
                        index,
                        text,
                        why,
                    });
                }
                None => dependencies.push(text),
            }
        }
        Ok(Some(Self {
            requires_python: block.requires_python,
            dependencies,
        }))
    }
}

/// Why an installer would not take this text for a requirement. The installer judges the rest.
fn fault(dependency: &str) -> Option<&'static str> {
    let dependency = dependency.trim();
    if dependency.is_empty() {
        Some("it is empty")
    } else if dependency.starts_with('-') {
        Some("the installer would take it for an option")
    } else if dependency.chars().any(char::is_control) {
        Some("it has a control character in it")
    } else {
        None
    }
}

/// The lines between the opening and the closing of the one `script` block, counted from 0.
fn find(lines: &[&[u8]]) -> Result<Option<Range<usize>>, MetadataError> {
    let mut found: Option<Range<usize>> = None;
    let mut at = 0;
    while at < lines.len() {
        let Some(kind) = opening(lines[at]) else {
            at += 1;
            continue;
        };
        let body = at + 1;
        let comments = lines[body..]
            .iter()
            .take_while(|line| **line == b"#" || line.starts_with(b"# "))
            .count();
        // At least one line lies between; and of several closings it is the last (the + is greedy).
        let closing = (body + 1..body + comments)
            .rev()
            .find(|line| lines[*line] == b"# ///");
        match (kind == b"script", closing) {
            (true, None) => return Err(MetadataError::Unclosed { line: at + 1 }),
            (true, Some(_)) if found.is_some() => {
                let first = found.map_or(0, |content| content.start);
                return Err(MetadataError::Repeated {
                    first,
                    second: at + 1,
                });
            }
            (true, Some(closing)) => found = Some(body..closing),
            (false, _) => {}
        }
        at = closing.map_or(body, |closing| closing + 1);
    }
    Ok(found)
}

/// The TYPE of a line `# /// TYPE`.
fn opening(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"# /// ").filter(|kind| {
        !kind.is_empty()
            && kind
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Result<Option<ScriptMetadata>, String> {
        ScriptMetadata::read(source.as_bytes()).map_err(|error| error.to_string())
    }

    fn dependencies(source: &str) -> Vec<String> {
        read(source).unwrap().unwrap().dependencies
    }

    #[test]
    fn the_example_of_the_pep_is_read() {
        let source = "#!/usr/bin/env python3\n# /// script\n# requires-python = \">=3.11\"\n# dependencies = [\n\
                      #   \"requests<3\",\n#   \"rich\",\n# ]\n# ///\n\nimport requests\n";
        assert_eq!(
            read(source).unwrap().unwrap(),
            ScriptMetadata {
                requires_python: Some(">=3.11".into()),
                dependencies: vec!["requests<3".into(), "rich".into()],
            }
        );
        assert_eq!(
            dependencies(&source.replace('\n', "\r\n")),
            ["requests<3", "rich"]
        );
    }

    #[test]
    fn the_last_closing_line_of_the_comment_closes() {
        let source =
            "# /// script\n# dependencies = [\"a\"]\n# [tool.x]\n# text = '''\n# ///\n# '''\n# ///\n#end\n";
        assert_eq!(dependencies(source), ["a"]);
    }

    #[test]
    fn what_the_grammar_does_not_call_a_block_is_none() {
        for source in [
            "",
            "import os\n",
            " # /// script\n # ///\n",
            "# ///script\n# ///\n",
            "# /// script \n# x\n# ///\n",
            "#/// script\n# x\n# ///\n",
            "# /// pyproject\n# dependencies = [\"a\"]\n# ///\n",
            "# /// pyproject\n# never closed\n",
        ] {
            assert_eq!(read(source), Ok(None), "{source:?}");
        }
    }

    #[test]
    fn a_script_block_inside_another_block_is_that_blocks_text() {
        let source = "# /// other\n# /// script\n# dependencies = [\"a\"]\n# ///\n";
        assert_eq!(read(source), Ok(None));
    }

    #[test]
    fn faults_name_their_line_in_the_script() {
        for (source, message) in [
            (
                "\n# /// script\n# x = 1\nprint()\n# ///\n",
                "line 2: the `# /// script` block is not closed",
            ),
            (
                "# /// script\n# ///\n",
                "line 1: the `# /// script` block is not closed",
            ),
            (
                "# /// script\n#\n# ///\n\n# /// script\n#\n# ///\n",
                "lines 1 and 5 both open",
            ),
            (
                "\n\n# /// script\n#\n# x = \n# ///\n",
                "line 5: in the `# /// script` block: ",
            ),
            (
                "# /// script\n# dependencies = [\n#  \"a\",\n#  1,\n# ]\n# ///\n",
                "line 4: in the `# /// script` block: invalid type: integer `1`",
            ),
            (
                "# /// script\n# dependencies = \"a\"\n# ///\n",
                "line 2: in the `# /// script` block: invalid type: string",
            ),
            (
                "# /// script\n# requires-python = 3.11\n# ///\n",
                "line 2: in the `# /// script` block: invalid type: float",
            ),
            (
                "# /// script\n# dependencies = [\n#  \"a\",\n#  \" -r x\"]\n# ///\n",
                "line 4: dependencies[1] is \" -r x\": the installer would take it for an option",
            ),
            (
                "# /// script\n# dependencies = [\"\"]\n# ///\n",
                "line 2: dependencies[0] is \"\": it is empty",
            ),
            (
                "# /// script\n# dependencies = [\"a\\n-r x\"]\n# ///\n",
                "line 2: dependencies[0]",
            ),
        ] {
            let error = read(source).unwrap_err();
            assert!(
                error.starts_with(message),
                "{error:?} should begin with {message:?}"
            );
        }
        let error = ScriptMetadata::read(b"# /// script\n# a = 1\n# b = '\xff'\n# ///\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3: the `# /// script` block is not UTF-8");
    }

    #[test]
    fn other_tools_tables_are_theirs() {
        assert_eq!(
            dependencies("# /// script\n# dependencies = [\"a\"]\n# [tool.uv]\n# x = 1\n# ///\n"),
            ["a"]
        );
        assert_eq!(
            read("# /// script\n#\n# ///\n"),
            Ok(Some(ScriptMetadata::default()))
        );
    }
}
