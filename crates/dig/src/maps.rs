//! Which file is mapped at an address of a process (`/proc/PID/maps`, proc(5)).

use std::collections::HashMap;

use callgate_trace::Object;

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) offset: u64,
    pub(crate) file: String,
    /// Where the file's first byte is mapped, if it is.
    pub(crate) base: Option<u64>,
}

/// The executable mappings of every process that was asked about. They are read once and again only
/// where an address is not found: memory that was unmapped and used for another file meanwhile keeps its
/// first name.
#[derive(Debug, Default)]
pub(crate) struct Maps(HashMap<i32, Vec<Mapping>>);

impl Maps {
    /// The file that an instruction of a process lies in; `None` if nothing is mapped there, or the
    /// process is gone.
    pub(crate) fn object(&mut self, pid: i32, instruction: u64) -> Option<Object> {
        Some(self.mapping(pid, instruction)?.object(instruction))
    }

    /// The mapping that an instruction lies in.
    pub(crate) fn mapping(&mut self, pid: i32, instruction: u64) -> Option<&Mapping> {
        let holds = |mapping: &Mapping| (mapping.from..mapping.to).contains(&instruction);
        let known = self.0.entry(pid).or_default();
        if !known.iter().any(holds) {
            let text = std::fs::read(format!("/proc/{pid}/maps")).ok()?;
            *known = executables(&String::from_utf8_lossy(&text));
        }
        known.iter().find(|mapping| holds(mapping))
    }

    /// Whether a libpython was seen in a process: it runs Python, whatever its own name is.
    pub(crate) fn have_python(&self, pid: i32) -> bool {
        let is_libpython = |mapping: &Mapping| {
            let name = mapping.file.rsplit('/').next();
            name.is_some_and(|name| name.starts_with("libpython3."))
        };
        self.0
            .get(&pid)
            .is_some_and(|known| known.iter().any(is_libpython))
    }

    /// What is mapped there now is something else, or nothing.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.0.remove(&pid);
    }
}

impl Mapping {
    /// The place of an instruction of this mapping in its file.
    pub(crate) fn object(&self, instruction: u64) -> Object {
        let file = self.file.clone();
        let offset = if file.is_empty() {
            instruction
        } else {
            instruction - self.from + self.offset
        };
        Object { file, offset }
    }
}

/// The executable mappings. A file's first byte is mapped before the rest of it.
fn executables(maps: &str) -> Vec<Mapping> {
    let mut first: Option<(String, u64)> = None;
    let mut found = Vec::new();
    for (mut mapping, executable) in maps.lines().filter_map(mapping) {
        if mapping.offset == 0 && !mapping.file.is_empty() {
            first = Some((mapping.file.clone(), mapping.from));
        }
        if executable {
            let base = first.as_ref().filter(|(file, _)| *file == mapping.file);
            mapping.base = base.map(|(_, from)| *from);
            found.push(mapping);
        }
    }
    found
}

/// Reads a line: `7f3a-7f3b r-xp 00028000 fe:00 1234    /usr/lib/libc.so.6`; also whether what lies there
/// can be executed.
fn mapping(line: &str) -> Option<(Mapping, bool)> {
    let (range, rest) = line.split_once(' ')?;
    let (permissions, rest) = rest.split_once(' ')?;
    let (offset, rest) = rest.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    // A device and an inode, then the name, which may hold spaces, after spaces.
    let (_, rest) = rest.split_once(' ')?;
    let name = rest.split_once(' ').map_or("", |(_, name)| name.trim_start());
    let mapping = Mapping {
        from: hex(from)?,
        to: hex(to)?,
        offset: hex(offset)?,
        file: name.to_owned(),
        base: None,
    };
    Some((mapping, permissions.as_bytes().get(2) == Some(&b'x')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_say_which_file_can_be_executed_where() {
        let text = "7f0000000000-7f0000001000 r--p 00000000 fe:00 1234                     /opt/a b/libc.so.6
7f0000001000-7f0000003000 r-xp 00028000 fe:00 1234                     /opt/a b/libc.so.6
7f0000003000-7f0000004000 r--p 0002a000 fe:00 1234                     /opt/a b/libc.so.6
7f0000004000-7f0000005000 rwxp 00000000 00:00 0 
7f0000005000-7f0000006000 r-xp 00001000 fe:00 77                       /opt/other.so
7ffc0000-7ffc2000 r-xp 00000000 00:00 0                          [vdso]";
        let found = executables(text);
        let bases: Vec<Option<u64>> = found.iter().map(|mapping| mapping.base).collect();
        assert_eq!(bases, [Some(0x7f00_0000_0000), None, None, Some(0x7ffc_0000)]);
        assert_eq!(
            found[0].object(0x7f00_0000_1010),
            Object {
                file: "/opt/a b/libc.so.6".into(),
                offset: 0x28010
            }
        );
        assert_eq!(found[1].object(0x7f00_0000_4010).offset, 0x7f00_0000_4010);
        assert_eq!(found[3].file, "[vdso]");
    }

    #[test]
    fn our_own_code_is_in_our_own_program() {
        let pid = std::process::id() as i32;
        let mut maps = Maps::default();
        let here = our_own_code_is_in_our_own_program as fn() as usize as u64;
        let object = maps.object(pid, here).unwrap();
        assert_eq!(object.file, std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(maps.object(pid, 8), None);
    }
}
