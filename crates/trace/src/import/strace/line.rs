//! One line of a strace log: the thread, and what happened.

use crate::Ending;
use crate::import::Problem;

/// A line without its timestamps.
pub(super) struct Line<'a> {
    /// The thread's number, if the log has them.
    pub(super) thread: Option<u32>,
    pub(super) event: &'a str,
}

/// What a line tells.
pub(super) enum Event<'a> {
    /// A call; its end may come later.
    Call {
        name: &'a str,
        arguments: &'a str,
        outcome: Outcome<'a>,
    },
    /// The end of a call that began on an earlier line.
    Resumed { name: &'a str, outcome: Outcome<'a> },
    /// From here on the thread enters the kernel in another way: `32 bit`.
    Mode(&'a str),
    /// Another thread of the process executed a program.
    Superseded(u32),
    /// The end of a thread.
    Ended(Ending),
    /// A signal, a line of a stack, a word of strace about itself.
    Nothing,
}

/// How a call ended.
#[derive(PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    Unfinished,
    Failed(&'a str),
    /// It succeeded, did not return, or is to be restarted (`?`).
    Other,
}

/// Whether a line can only be strace's.
pub(in crate::import) fn is_call(line: &str) -> bool {
    let Ok(line) = split(line) else { return false };
    match event(line.event) {
        Ok(
            Event::Call { .. }
            | Event::Resumed { .. }
            | Event::Ended(_)
            | Event::Mode(_)
            | Event::Superseded(_),
        ) => true,
        Ok(Event::Nothing) => line.event.starts_with("--- "),
        Err(_) => false,
    }
}

/// Whether strace speaks of itself: `strace: Process 9 attached`.
pub(in crate::import) fn is_chatter(line: &str) -> bool {
    line.starts_with("strace: ")
}

/// Takes what options put before an event: `-f` the thread, `-t` and `-r` the time, `-n` the number and
/// `-i` the instruction.
pub(super) fn split(line: &str) -> Result<Line<'_>, Problem> {
    let mut event = line.trim_start();
    let mut thread = None;
    if let Some(rest) = event.strip_prefix("[pid ") {
        let (number, rest) = rest.split_once(']').ok_or_else(|| unreadable(line))?;
        let number = number.split('<').next().unwrap_or_default();
        thread = Some(number.trim().parse().map_err(|_| unreadable(line))?);
        event = rest.trim_start();
    } else if let Some((number, rest)) = numbered(event) {
        thread = Some(number.parse().map_err(|_| unreadable(line))?);
        event = rest.trim_start();
    }
    while let Some(rest) = after_mark(event) {
        event = rest.trim_start();
    }
    Ok(Line {
        thread,
        event: event.trim_end(),
    })
}

/// `12 EVENT`, or `12<python3> EVENT` (`--decode-pids=comm`).
fn numbered(line: &str) -> Option<(&str, &str)> {
    let (number, rest) = line.split_at(line.find(|c: char| !c.is_ascii_digit())?);
    let rest = match rest.strip_prefix('<') {
        Some(name) => name.split_once("> ")?.1,
        None => rest.strip_prefix(' ')?,
    };
    (!number.is_empty()).then_some((number, rest))
}

/// What comes after a time, `(+ 0.1)`, `[ 59]` or `[00007f3fee987ad7]`.
fn after_mark(event: &str) -> Option<&str> {
    if let Some(rest) = event.strip_prefix("(+") {
        return rest.split_once(')').map(|(_, rest)| rest);
    }
    if let Some(rest) = event.strip_prefix('[') {
        let (inner, rest) = rest.split_once(']')?;
        let inner = inner.trim();
        let number = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b'?');
        return number.then_some(rest);
    }
    let (word, rest) = event.split_once(' ')?;
    let time =
        word.contains(['.', ':']) && word.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b':');
    time.then_some(rest)
}

/// Reads what happened.
pub(super) fn event(event: &str) -> Result<Event<'_>, Problem> {
    let quiet = event.is_empty() || event.starts_with("--- ") || event.starts_with("> ") || is_chatter(event);
    if quiet {
        return Ok(Event::Nothing);
    }
    if let Some(rest) = event.strip_prefix("+++ ") {
        return end(rest).ok_or_else(|| unreadable(event));
    }
    if let Some(rest) = event.strip_prefix("[ Process PID=") {
        let mode = rest
            .split_once(" runs in ")
            .and_then(|(_, mode)| mode.strip_suffix(" mode. ]"));
        return mode.map(Event::Mode).ok_or_else(|| unreadable(event));
    }
    if let Some(rest) = event.strip_prefix("<... ") {
        let (name, rest) = rest.split_once(" resumed>").ok_or_else(|| unreadable(event))?;
        let outcome = outcome(rest).ok_or_else(|| cut(event))?;
        return Ok(Event::Resumed { name, outcome });
    }
    let (name, arguments) = event.split_once('(').ok_or_else(|| unreadable(event))?;
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !named && name != "???" {
        return Err(unreadable(event));
    }
    let outcome = outcome(arguments).ok_or_else(|| cut(event))?;
    Ok(Event::Call {
        name,
        arguments,
        outcome,
    })
}

/// `exited with 0 +++`, `killed by SIGSEGV (core dumped) +++`, `superseded by execve in pid 7 +++`.
fn end(event: &str) -> Option<Event<'_>> {
    let event = event.strip_suffix(" +++")?;
    if let Some(code) = event.strip_prefix("exited with ") {
        return Some(Event::Ended(Ending::exited(code.parse().ok()?)));
    }
    if let Some(signal) = event.strip_prefix("killed by ") {
        return Some(Event::Ended(Ending::signaled(signal.split(' ').next()?)));
    }
    let pid = event.strip_prefix("superseded by execve in pid ")?;
    Some(Event::Superseded(pid.parse().ok()?))
}

/// The outcome at the end of a line. Texts in the arguments may look like one, so it is sought from the
/// right; `None` if there is none.
fn outcome(text: &str) -> Option<Outcome<'_>> {
    // `<pid changed to 7 ...>`: a thread executes a program and takes the number of its process.
    let changes = text.ends_with(" ...>") && text.contains(" <pid changed to ");
    if text.ends_with("<unfinished ...>") || changes {
        return Some(Outcome::Unfinished);
    }
    if text.ends_with("<detached ...>") {
        return Some(Outcome::Other);
    }
    text.rmatch_indices("= ")
        .filter(|(at, _)| text[..*at].trim_end().ends_with([')', '>']))
        .find_map(|(at, mark)| result(&text[at + mark.len()..]))
        .or_else(|| text.ends_with("= ?").then_some(Outcome::Other))
}

/// `3`, `0x7f12`, `?`, `? ERESTARTSYS (…)`, `-1 ENOENT (…)`.
fn result(text: &str) -> Option<Outcome<'_>> {
    let mut words = text.split(' ');
    let value = words.next()?;
    if value == "-1" {
        let error = words.next().filter(|word| word.starts_with('E'));
        return Some(error.map_or(Outcome::Other, Outcome::Failed));
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    (digits == "?" || digits.starts_with(|c: char| c.is_ascii_digit())).then_some(Outcome::Other)
}

pub(super) fn unreadable(line: &str) -> Problem {
    Problem::unreadable(
        line,
        "a line of strace",
        "leave out what is not strace's (`strace -f -o FILE` keeps the program's output apart)",
    )
}

fn cut(line: &str) -> Problem {
    Problem::unreadable(
        line,
        "a whole call: its result is missing",
        "take the line out if the log was cut off there, or record it again",
    )
}
