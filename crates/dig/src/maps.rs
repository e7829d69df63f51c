//! Which file is mapped at an address of a process (`/proc/PID/maps`, proc(5)).

use std::collections::HashMap;

use callgate_trace::Object;

/// One executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    from: u64,
    to: u64,
    offset: u64,
    file: String,
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
        if let Some(found) = self.0.get(&pid).and_then(|known| find(known, instruction)) {
            return Some(found);
        }
        let text = std::fs::read(format!("/proc/{pid}/maps")).ok()?;
        let mappings: Vec<Mapping> = String::from_utf8_lossy(&text)
            .lines()
            .filter_map(executable)
            .collect();
        let found = find(&mappings, instruction);
        self.0.insert(pid, mappings);
        found
    }

    /// What is mapped there now is something else, or nothing.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.0.remove(&pid);
    }
}

fn find(mappings: &[Mapping], instruction: u64) -> Option<Object> {
    let mapping = mappings
        .iter()
        .find(|mapping| (mapping.from..mapping.to).contains(&instruction))?;
    let file = mapping.file.clone();
    let offset = if file.is_empty() {
        instruction
    } else {
        instruction - mapping.from + mapping.offset
    };
    Some(Object { file, offset })
}

/// Reads a line: `7f3a-7f3b r-xp 00028000 fe:00 1234    /usr/lib/libc.so.6`. `None` if nothing there can
/// be executed.
fn executable(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (permissions, rest) = rest.split_once(' ')?;
    let (offset, rest) = rest.split_once(' ')?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (from, to) = range.split_once('-')?;
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    // A device and an inode, then the name, which may hold spaces, after spaces.
    let (_, rest) = rest.split_once(' ')?;
    let name = rest.split_once(' ').map_or("", |(_, name)| name.trim_start());
    Some(Mapping {
        from: hex(from)?,
        to: hex(to)?,
        offset: hex(offset)?,
        file: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_which_file_can_be_executed_where() {
        let line =
            "7f0000001000-7f0000003000 r-xp 00028000 fe:00 1234                     /opt/a b/libc.so.6";
        let mapping = executable(line).unwrap();
        assert_eq!(
            find(std::slice::from_ref(&mapping), 0x7f00_0000_1010).unwrap(),
            Object {
                file: "/opt/a b/libc.so.6".into(),
                offset: 0x28010
            }
        );
        assert_eq!(find(&[mapping], 0x7f00_0000_3000), None);
        assert_eq!(executable(&line.replace("r-xp", "r--p")), None);
        let bare = executable("7f0000001000-7f0000003000 rwxp 00000000 00:00 0 ").unwrap();
        assert_eq!(find(&[bare], 0x7f00_0000_1010).unwrap().offset, 0x7f00_0000_1010);
        let vdso =
            executable("7ffc0000-7ffc2000 r-xp 00000000 00:00 0                          [vdso]").unwrap();
        assert_eq!(vdso.file, "[vdso]");
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
