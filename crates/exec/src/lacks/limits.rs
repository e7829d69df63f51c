//! The sentences by which a program says that it met a limit that refuses and does not kill.

use crate::limits::Limits;

/// Which limits the code met by its own words, each with its option; `sized` tells whether its scratch directories are
/// kept to a size.
pub(crate) fn limits_said(limits: &Limits, sized: bool, stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let memory = limits.memory.map(size);
    let known = [
        ("MemoryError", "the memory", "--memory", memory.clone()),
        ("Cannot allocate memory", "the memory", "--memory", memory),
        (
            "No space left on device",
            "each of /tmp and /dev/shm",
            "--tmp-size",
            sized.then(|| size(limits.tmp_size)),
        ),
        (
            "File too large",
            "each file",
            "--file-size",
            Some(size(limits.file_size)),
        ),
        (
            "Too many open files",
            "the open files of each process",
            "--files",
            Some(limits.files.to_string()),
        ),
    ];
    let said = |words: &str| text.lines().any(|line| is_error(line) && line.contains(words));
    let note = |(words, what, option, value): (&str, &str, &str, Option<String>)| {
        let value = value.filter(|_| said(words))?;
        Some(format!(
            "the code says \"{words}\": the limit of {what} is {option} {value}"
        ))
    };
    let mut notes: Vec<String> = known.into_iter().filter_map(note).collect();
    if !sized && said("No space left on device") {
        let full = "the code says \"No space left on device\": the disk that its scratch directory is on is full, or has \
                    no room for more files (--tmp-size is not kept at this tier)";
        notes.push(full.to_owned());
    }
    notes
}

/// Whether a line says how something failed: `MemoryError`, `OSError: [Errno 28] …`, `cp: error writing …: …`.
pub(super) fn is_error(line: &str) -> bool {
    !line.starts_with(char::is_whitespace) && (line.contains(": ") || line.trim_end() == "MemoryError")
}

/// Bytes as the options take them.
fn size(bytes: u64) -> String {
    let units = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let fits = units.iter().find(|(unit, _)| bytes % unit == 0);
    fits.map_or_else(
        || bytes.to_string(),
        |(unit, name)| format!("{}{name}", bytes / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_limit_refused_is_named_with_its_option_and_other_words_are_not() {
        let limits = Limits {
            tmp_size: 3 << 20,
            memory: None,
            ..Limits::default()
        };
        let said = |text: &str| limits_said(&limits, true, text.as_bytes());
        let notes = said("OSError: [Errno 28] No space left on device\n");
        assert!(
            notes.len() == 1 && notes[0].contains("--tmp-size 3M"),
            "{notes:?}"
        );
        assert!(said("OSError: [Errno 24] Too many open files: '/a'")[0].contains("--files 1024"));
        assert!(said("  print('No space left on device: ')").is_empty());
        assert!(said("MemoryError").is_empty(), "there is no such limit");
        assert!(limits_said(&Limits::default(), true, b"MemoryError\n")[0].contains("--memory 1G"));
        let full = b"OSError: [Errno 28] No space left on device\n";
        let notes = limits_said(&limits, false, full);
        assert!(
            notes.len() == 1 && notes[0].contains("the disk") && !notes[0].contains("3M"),
            "{notes:?}"
        );
    }
}
