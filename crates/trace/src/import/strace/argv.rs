//! The command in the arguments of an execve as strace shows them: `"/bin/sh", ["sh", "-c", …], 0x…`.

/// The argument list; `None` if it is not shown as one (`-e raw=execve`). What strace cut off ends in `…`.
pub(super) fn argv(arguments: &str) -> Option<Vec<String>> {
    let (_, rest) = string(arguments)?;
    let mut rest = rest.strip_prefix(", [")?;
    let mut argv = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix("...") {
            argv.push("…".to_owned());
            rest = after;
        } else {
            let (word, after) = string(rest)?;
            argv.push(word);
            rest = after;
        }
        match rest.strip_prefix(", ") {
            Some(after) => rest = after,
            None => return rest.starts_with(']').then_some(argv),
        }
    }
}

/// A string in quotes, with `…` for a cut, and what comes after it.
fn string(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let mut word = String::from_utf8_lossy(&bytes).into_owned();
                let mut rest = &text[at + 1..];
                if let Some(after) = rest.strip_prefix("...") {
                    word.push('…');
                    rest = after;
                }
                return Some((word, rest));
            }
            '\\' => {
                let (at, escaped) = chars.next()?;
                match escaped {
                    'n' => bytes.push(b'\n'),
                    't' => bytes.push(b'\t'),
                    'r' => bytes.push(b'\r'),
                    'v' => bytes.push(0x0b),
                    'f' => bytes.push(0x0c),
                    'x' => {
                        let digits = text.get(at + 1..at + 3)?;
                        bytes.push(u8::from_str_radix(digits, 16).ok()?);
                        chars.nth(1);
                    }
                    '0'..='7' => {
                        let rest = &text[at..];
                        let octal = |c: char| ('0'..='7').contains(&c);
                        let length = rest.chars().take(3).take_while(|c| octal(*c)).count();
                        bytes.push(u8::from_str_radix(&rest[..length], 8).ok()?);
                        for _ in 1..length {
                            chars.next();
                        }
                    }
                    other => bytes.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            plain => bytes.extend(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_read_with_its_escapes_and_cuts() {
        let command = |text: &str| argv(text);
        assert_eq!(
            command(
                r#""/bin/sh", ["sh", "-c", "a\n\"b\" \303\244\x41\0z"..., ...], 0x7ffe /* 3 vars */) = 0"#
            ),
            Some(["sh", "-c", "a\n\"b\" äA\0z…", "…"].map(String::from).to_vec())
        );
        for bad in [
            "0x1, 0x2, 0x3) = 0",
            "\"/bin/sh\", 0x7f",
            "\"/bin/sh\", [\"a",
            "\"\\400\", [\"a\"]",
            "",
        ] {
            assert_eq!(command(bad), None, "{bad}");
        }
    }
}
