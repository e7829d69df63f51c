//! Reads from an ELF file what the loader reads first: its class, interpreter, names, needs and search paths.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use goblin::container::{Container, Ctx};
use goblin::elf::Elf;
use goblin::elf::dynamic::{
    DF_1_NODEFLIB, DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, Dynamic,
};
use goblin::elf::header::Header;
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, ProgramHeader};

/// The kind of machine an object is for: objects of different kinds are never loaded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Machine {
    /// `e_machine`, e.g. 62 for x86-64.
    pub(crate) number: u16,
    /// 64-bit class. x32 is x86-64 with the 32-bit class.
    pub(crate) wide: bool,
}

/// What one ELF file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) machine: Machine,
    /// PT_INTERP: the loader that a dynamically linked program asks for.
    pub(crate) interpreter: Option<PathBuf>,
    pub(crate) soname: Option<String>,
    pub(crate) needed: Vec<String>,
    /// DT_RPATH, `None` too when there is a DT_RUNPATH, as glibc has it.
    pub(crate) rpath: Option<String>,
    pub(crate) runpath: Option<String>,
    /// Linked with `-z nodefaultlib`: neither the cache nor the default directories are searched.
    pub(crate) no_default: bool,
}

/// What a file turned out to be.
#[derive(Debug, Clone)]
pub(crate) enum Parsed {
    Elf(Box<Object>),
    /// Something else, such as a linker script named `.so`.
    NotElf,
    /// Says it is an ELF file, but can't be read as one, or can't be read at all; why.
    Bad(String),
}

/// No real object has a dynamic section or string table larger than this.
const MAX_PART: u64 = 64 << 20;

/// Reads one regular file.
pub(crate) fn parse(path: &Path) -> Parsed {
    match read(path) {
        Ok(Some(object)) => Parsed::Elf(Box::new(object)),
        Ok(None) => Parsed::NotElf,
        Err(error) => Parsed::Bad(error.to_string()),
    }
}

fn read(path: &Path) -> io::Result<Option<Object>> {
    // O_NONBLOCK: a fifo put in the file's place must not hold us.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    let mut start = vec![0; 4096];
    let length = file.read_at(&mut start, 0)?;
    start.truncate(length);
    if !start.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let header = Elf::parse_header(&start).map_err(invalid)?;
    let ctx = Ctx::new(
        header.container().map_err(invalid)?,
        header.endianness().map_err(invalid)?,
    );
    let segments = segments(&file, &start, &header, ctx)?;
    let mut object = Object {
        machine: Machine {
            number: header.e_machine,
            wide: ctx.container == Container::Big,
        },
        interpreter: None,
        soname: None,
        needed: Vec::new(),
        rpath: None,
        runpath: None,
        no_default: false,
    };
    if let Some(segment) = segments.iter().find(|segment| segment.p_type == PT_INTERP) {
        let bytes = part(&file, segment.p_offset, segment.p_filesz)?;
        object.interpreter = Some(PathBuf::from(text_at(&bytes, 0)?));
    }
    if let Some(segment) = segments.iter().find(|segment| segment.p_type == PT_DYNAMIC) {
        dynamic(&file, &segments, segment, ctx, &mut object)?;
    }
    Ok(Some(object))
}

fn segments(file: &File, start: &[u8], header: &Header, ctx: Ctx) -> io::Result<Vec<ProgramHeader>> {
    let count = usize::from(header.e_phnum);
    let length = (count * ProgramHeader::size(ctx)) as u64;
    let end = header
        .e_phoff
        .checked_add(length)
        .ok_or_else(|| invalid("program headers"))?;
    if end <= start.len() as u64 {
        return ProgramHeader::parse(start, header.e_phoff as usize, count, ctx).map_err(invalid);
    }
    let bytes = part(file, header.e_phoff, length)?;
    ProgramHeader::parse(&bytes, 0, count, ctx).map_err(invalid)
}

fn dynamic(
    file: &File,
    segments: &[ProgramHeader],
    segment: &ProgramHeader,
    ctx: Ctx,
    object: &mut Object,
) -> io::Result<()> {
    let bytes = part(file, segment.p_offset, segment.p_filesz)?;
    let moved = ProgramHeader {
        p_offset: 0,
        p_filesz: bytes.len() as u64,
        ..segment.clone()
    };
    let Some(dynamic) = Dynamic::parse(&bytes, &[moved], ctx).map_err(invalid)? else {
        return Ok(());
    };
    let value = |tag| {
        dynamic
            .dyns
            .iter()
            .find(|entry| entry.d_tag == tag)
            .map(|entry| entry.d_val)
    };
    let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
        return Ok(());
    };
    let offset = segments
        .iter()
        .filter(|load| load.p_type == PT_LOAD)
        .find(|load| address >= load.p_vaddr && address - load.p_vaddr < load.p_filesz)
        .map(|load| address - load.p_vaddr + load.p_offset)
        .ok_or_else(|| invalid("DT_STRTAB is in no loaded segment"))?;
    // A string table holds the names of all symbols, often megabytes; what is wanted is a few strings of it.
    let strings: Vec<_> = dynamic
        .dyns
        .iter()
        .filter(|entry| matches!(entry.d_tag, DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH))
        .map(|entry| (entry.d_tag, entry.d_val))
        .collect();
    for (tag, at) in strings {
        if at >= size {
            return Err(invalid("a name lies outside the string table"));
        }
        let text = string(file, offset.saturating_add(at), size - at)?;
        match tag {
            DT_NEEDED => object.needed.push(text),
            DT_SONAME => object.soname = Some(text),
            DT_RPATH => object.rpath = Some(text),
            _ => object.runpath = Some(text),
        }
    }
    if object.runpath.is_some() {
        object.rpath = None;
    }
    object.no_default = value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_NODEFLIB != 0);
    Ok(())
}

/// A NUL-terminated string of at most `limit` bytes.
fn string(file: &File, offset: u64, limit: u64) -> io::Result<String> {
    let mut window = 256;
    loop {
        let mut bytes = vec![0; limit.min(window) as usize];
        let length = file.read_at(&mut bytes, offset)?;
        bytes.truncate(length);
        if bytes.contains(&0) || window >= limit || (length as u64) < window {
            return text_at(&bytes, 0);
        }
        window *= 16;
    }
}

fn text_at(bytes: &[u8], at: usize) -> io::Result<String> {
    let bytes = bytes.get(at..).unwrap_or_default();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| invalid("a name is not UTF-8"))
}

fn part(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > MAX_PART {
        return Err(invalid("a part is larger than 64 MiB"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a valid ELF file: {}", why.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_object_and_a_cut_object_is_a_bad_one() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("libc.so");
        std::fs::write(&script, "/* GNU ld script */").unwrap();
        assert!(matches!(parse(&script), Parsed::NotElf));
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [5, 70, 2000, 4200] {
            let cut = dir.path().join("cut.so");
            std::fs::write(&cut, &whole[..length]).unwrap();
            assert!(matches!(parse(&cut), Parsed::Bad(_)), "{length}");
        }
        assert!(matches!(parse(&dir.path().join("none")), Parsed::Bad(_)));
    }

    #[test]
    fn this_program_names_its_loader_and_libc() {
        let Parsed::Elf(object) = parse(&std::env::current_exe().unwrap()) else {
            panic!("not ELF")
        };
        assert!(object.interpreter.unwrap().starts_with("/"));
        assert!(
            object.needed.iter().any(|name| name.starts_with("libc.")),
            "{:?}",
            object.needed
        );
    }
}
