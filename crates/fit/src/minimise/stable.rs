//! What the outputs of several equal runs have in common: all, or what does not change with time and place.

/// The stable part of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stable {
    /// The same bytes each time.
    Exact(Vec<u8>),
    /// The same lines each time, in changing order; sorted here.
    AnyOrder(Vec<Vec<u8>>),
    /// The same number of lines, and in some of them words that change.
    Parts(Vec<Line>),
    /// Lines that came up each time, with others besides; sorted here.
    Common(Vec<Vec<u8>>),
    /// No line came up each time.
    Nothing,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It never changes.
    Same(Vec<u8>),
    /// These words in this order; `None` for one that changes.
    Words(Vec<Option<Vec<u8>>>),
    /// Not even the number of its words is the same.
    Any,
}

impl Stable {
    /// What these outputs have in common.
    pub(crate) fn of(outputs: &[&[u8]]) -> Self {
        let Some((first, others)) = outputs.split_first() else {
            return Self::Nothing;
        };
        if others.iter().all(|other| other == first) {
            return Self::Exact(first.to_vec());
        }
        let split: Vec<Vec<&[u8]>> = outputs.iter().map(|output| lines(output)).collect();
        let sorted: Vec<Vec<Vec<u8>>> = outputs.iter().map(|output| sorted_lines(output)).collect();
        if sorted.iter().all(|other| *other == sorted[0]) {
            return Self::AnyOrder(sorted[0].clone());
        }
        if split.iter().all(|other| other.len() == split[0].len()) {
            let line = |at: usize| Line::of(&split.iter().map(|lines| lines[at]).collect::<Vec<_>>());
            let parts: Vec<Line> = (0..split[0].len()).map(line).collect();
            if parts.iter().any(Line::says_something) {
                return Self::Parts(parts);
            }
        }
        let common = sorted[1..]
            .iter()
            .fold(sorted[0].clone(), |common, other| intersection(&common, other));
        if common.iter().all(|line| line.is_empty()) {
            return Self::Nothing;
        }
        Self::Common(common)
    }

    /// Whether an output has what these have in common.
    pub(crate) fn fits(&self, output: &[u8]) -> bool {
        match self {
            Self::Exact(bytes) => bytes == output,
            Self::AnyOrder(expected) => *expected == sorted_lines(output),
            Self::Parts(parts) => {
                let lines = lines(output);
                lines.len() == parts.len() && parts.iter().zip(lines).all(|(part, line)| part.fits(line))
            }
            Self::Common(common) => intersection(common, &sorted_lines(output)).len() == common.len(),
            Self::Nothing => true,
        }
    }

    /// The word for how much is compared.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::AnyOrder(_) => "any_order",
            Self::Parts(_) => "stable_parts",
            Self::Common(_) => "common_lines",
            Self::Nothing => "nothing",
        }
    }

    /// What is not compared, if anything is not.
    pub(crate) fn note(&self, stream: &str) -> Option<String> {
        let what = match self {
            Self::Exact(_) => return None,
            Self::AnyOrder(_) => "its lines come in changing order: they are compared sorted".to_owned(),
            Self::Parts(parts) => {
                let changing: Vec<String> = parts
                    .iter()
                    .enumerate()
                    .filter(|(_, line)| !matches!(line, Line::Same(_)))
                    .map(|(at, _)| (at + 1).to_string())
                    .collect();
                format!(
                    "words change in line {}: there the other words are compared",
                    listed(&changing)
                )
            }
            Self::Common(common) => format!(
                "the number of lines changes: only the {} that came up each time are looked for",
                common.len()
            ),
            Self::Nothing => "it has nothing in common from run to run: it is not compared at all".to_owned(),
        };
        Some(format!(
            "{stream} differs between runs in which nothing is refused; {what}"
        ))
    }
}

/// The first few, and how many more.
fn listed(words: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = words[..words.len().min(SHOWN)].join(", ");
    match words.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl Line {
    fn of(versions: &[&[u8]]) -> Self {
        if versions.iter().all(|version| *version == versions[0]) {
            return Self::Same(versions[0].to_vec());
        }
        let split: Vec<Vec<&[u8]>> = versions.iter().map(|version| words(version)).collect();
        if split.iter().any(|other| other.len() != split[0].len()) {
            return Self::Any;
        }
        let word = |at: usize| {
            let same = split.iter().all(|words| words[at] == split[0][at]);
            same.then(|| split[0][at].to_vec())
        };
        Self::Words((0..split[0].len()).map(word).collect())
    }

    fn fits(&self, line: &[u8]) -> bool {
        match self {
            Self::Same(bytes) => bytes == line,
            Self::Words(expected) => {
                let words = words(line);
                words.len() == expected.len()
                    && expected
                        .iter()
                        .zip(words)
                        .all(|(expected, word)| expected.as_ref().is_none_or(|same| same == word))
            }
            Self::Any => true,
        }
    }

    /// Whether anything is left of it to compare.
    fn says_something(&self) -> bool {
        match self {
            Self::Same(bytes) => !bytes.is_empty(),
            Self::Words(words) => words
                .iter()
                .flatten()
                .any(|word| word.iter().any(u8::is_ascii_alphanumeric)),
            Self::Any => false,
        }
    }
}

fn lines(output: &[u8]) -> Vec<&[u8]> {
    output.split(|byte| *byte == b'\n').collect()
}

fn sorted_lines(output: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = lines(output).into_iter().map(<[u8]>::to_vec).collect();
    lines.sort();
    lines
}

/// What two sorted lists have in common, each line as often as in the one that has it less often.
fn intersection(one: &[Vec<u8>], other: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut rest = other.iter().peekable();
    let mut both = Vec::new();
    for line in one {
        while rest.next_if(|candidate| *candidate < line).is_some() {}
        if rest.next_if(|candidate| *candidate == line).is_some() {
            both.push(line.clone());
        }
    }
    both
}

/// The words of a line and what is between them. A time, a date, an address or a number is one word, so that
/// a digit of it which happens to stand still is not taken for stable.
fn words(line: &[u8]) -> Vec<&[u8]> {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"_:.+-/%".contains(byte) || !byte.is_ascii();
    line.chunk_by(|a, b| inside(a) == inside(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stable(outputs: &[&str]) -> Stable {
        Stable::of(&outputs.iter().map(|text| text.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn what_never_changes_is_compared_byte_by_byte_also_where_it_is_no_text() {
        let exact = Stable::of(&[b"\xff\n", b"\xff\n"]);
        assert!(exact.fits(b"\xff\n"));
        assert!(!exact.fits(b"\xfe\n") && !exact.fits(b"\xff"));
        assert_eq!(exact.note("standard output"), None);
    }

    #[test]
    fn times_and_addresses_may_change_and_what_stands_around_them_may_not() {
        let parts = stable(&[
            "at 10:49:01 <f 0x7f10>\nsum 3\n",
            "at 10:49:01 <f 0x7f22>\nsum 3\n",
            "at 10:49:02 <f 0x7f24>\nsum 3\n",
        ]);
        assert_eq!(parts.word(), "stable_parts");
        assert!(parts.fits(b"at 11:00:00 <f 0x55aa>\nsum 3\n"));
        for other in [
            "at 11:00:00 <g 0x55aa>\nsum 3\n",
            "at 11:00:00 <f 0x55aa>\nsum 4\n",
            "at 11:00:00 <f 0x55aa>\nsum 3\nmore\n",
            "",
        ] {
            assert!(!parts.fits(other.as_bytes()), "{other}");
        }
        let note = parts.note("standard output").unwrap();
        assert!(note.contains("words change in line 1:"), "{note}");
    }

    #[test]
    fn lines_of_threads_may_come_in_any_order_but_must_come() {
        let any = stable(&["a\nb\nc\n", "b\na\nc\n"]);
        assert_eq!(any.word(), "any_order");
        assert!(any.fits(b"c\nb\na\n") && !any.fits(b"c\nb\nb\n") && !any.fits(b"a\nb\n"));
    }

    #[test]
    fn where_the_number_of_lines_changes_the_common_ones_are_looked_for() {
        let common = stable(&["start\ntick\nend\n", "start\ntick\ntick\nend\n"]);
        assert_eq!(common.word(), "common_lines");
        assert!(common.fits(b"start\ntick\ntick\ntick\nend\n"));
        assert!(!common.fits(b"start\ntick\ntick\n"));
    }

    #[test]
    fn nothing_in_common_is_said_and_not_passed_over() {
        let nothing = stable(&["1\n", "2\n3\n"]);
        assert_eq!(nothing.word(), "nothing");
        assert!(nothing.fits(b"anything"));
        assert!(
            nothing
                .note("standard error")
                .unwrap()
                .contains("not compared at all")
        );
        // One word per line, which changes: its shape alone says nothing either.
        assert_eq!(stable(&["1\n", "2\n"]).word(), "nothing");
    }
}
