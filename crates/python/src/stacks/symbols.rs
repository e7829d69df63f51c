//! What py-spy has to know of an interpreter's ELF file, and no more than that.
//!
//! py-spy's own parser makes a table of all symbols, some ten thousand for libpython, which takes longer than
//! to start the interpreter's first imports. Five names matter. Only the headers, the symbols and their names
//! are read.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;

use goblin::container::{Container, Ctx};
use goblin::elf::program_header::{PF_X, PT_LOAD};
use goblin::elf::section_header::{SHN_UNDEF, SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB};
use goblin::elf::{Elf, ProgramHeader, SectionHeader, Symtab, sym};
use py_spy::binary_parser::BinaryInfo;

use super::awaited::LIBRARY;

type Cause = Box<dyn Error + Send + Sync>;

/// The most bytes of one table: who names a file decides what is in it.
const MOST_BYTES: u64 = 1 << 28;

/// The longest ELF header (elf(5), `Elf64_Ehdr`).
const HEADER: usize = 64;

/// The symbol that holds the text of `sys.version`, as py-spy asks for it.
const VERSION: &str = "version";

/// The symbols that py-spy 0.4 asks for (`PythonProcessInfo::get_symbol`).
const SYMBOLS: [&str; 4] = [
    "Py_GetVersion.version",
    RUNTIME,
    "interp_head",
    "_PyThreadState_Current",
];

/// Where the interpreter's state is.
pub(super) const RUNTIME: &str = "_PyRuntime";

/// Which symbols are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// All that py-spy may ask for.
    All,
    /// The runtime's: enough where the version is known. It is among the few that libpython exports.
    Runtime,
}

/// What is known of a file.
pub(super) struct Binary {
    pub(super) info: BinaryInfo,
    /// It was linked with libpython, and has no interpreter of its own.
    pub(super) needs_library: bool,
}

/// Reads the symbols and sections of a file that is mapped at `start`.
pub(super) fn read(file: &File, start: u64, size: u64, wanted: Wanted) -> Result<Binary, Cause> {
    let mut first = [0; HEADER];
    file.read_exact_at(&mut first, 0)?;
    let header = Elf::parse_header(&first)?;
    let ctx = Ctx::new(
        if header.e_ident[4] == goblin::elf::header::ELFCLASS64 {
            Container::Big
        } else {
            Container::Little
        },
        header.endianness()?,
    );
    let table =
        |offset: u64, entry: u16, count: u16| bytes(file, offset, u64::from(entry) * u64::from(count));
    let programs = table(header.e_phoff, header.e_phentsize, header.e_phnum)?;
    let programs = ProgramHeader::parse(&programs, 0, usize::from(header.e_phnum), ctx)?;
    let sections = table(header.e_shoff, header.e_shentsize, header.e_shnum)?;
    let sections = SectionHeader::parse_from(&sections, 0, usize::from(header.e_shnum), ctx)?;
    let names = match sections.get(usize::from(header.e_shstrndx)) {
        Some(section) => bytes(file, section.sh_offset, section.sh_size)?,
        None => Vec::new(),
    };

    let code = programs
        .iter()
        .find(|program| program.p_type == PT_LOAD && program.p_flags & PF_X != 0)
        .ok_or("no executable segment")?;
    let bias = start.saturating_sub(code.p_vaddr - code.p_vaddr % page_size()?);
    let mut info = BinaryInfo {
        symbols: HashMap::new(),
        bss_addr: 0,
        bss_size: 0,
        pyruntime_addr: 0,
        pyruntime_size: 0,
        addr: start,
        size,
    };
    for section in &sections {
        let at = section.sh_addr.saturating_add(bias);
        match name(&names, section.sh_name) {
            b".bss" if section.sh_type == SHT_NOBITS && section.sh_size > info.bss_size => {
                (info.bss_addr, info.bss_size) = (at, section.sh_size);
            }
            b".PyRuntime" => (info.pyruntime_addr, info.pyruntime_size) = (at, section.sh_size),
            _ => {}
        }
    }
    if info.bss_size < size_of::<usize>() as u64 {
        return Err("no .bss section".into());
    }
    let mut linked = false;
    // What the program exports counts more than what its file happens to tell.
    let kinds = match wanted {
        Wanted::All => [SHT_SYMTAB, SHT_DYNSYM],
        Wanted::Runtime => [SHT_DYNSYM, SHT_SYMTAB],
    };
    for kind in kinds {
        if wanted == Wanted::Runtime && info.symbols.contains_key(RUNTIME) {
            break;
        }
        for section in sections.iter().filter(|section| section.sh_type == kind) {
            let Some(strings) = sections.get(section.sh_link as usize) else {
                continue;
            };
            let symbols = bytes(file, section.sh_offset, section.sh_size)?;
            let strings = bytes(file, strings.sh_offset, strings.sh_size)?;
            // The names of the objects that it needs are among them.
            linked |= kind == SHT_DYNSYM && strings.windows(LIBRARY.len()).any(|part| part == LIBRARY);
            add(&mut info, &symbols, &strings, bias, ctx)?;
        }
    }
    let needs_library = linked && !info.symbols.contains_key(RUNTIME);
    Ok(Binary { info, needs_library })
}

fn add(info: &mut BinaryInfo, symbols: &[u8], strings: &[u8], bias: u64, ctx: Ctx) -> Result<(), Cause> {
    let entry = sym::Sym::size(ctx.container);
    for symbol in &Symtab::parse(symbols, 0, symbols.len() / entry, ctx)? {
        if symbol.st_shndx == SHN_UNDEF as usize {
            continue;
        }
        let name = name(strings, symbol.st_name);
        let wanted = SYMBOLS.iter().find(|wanted| wanted.as_bytes() == name);
        // gcc numbers a function's own variables.
        let version = || (is_version(name) && symbol.st_size >= 100).then_some(&VERSION);
        if let Some(wanted) = wanted.or_else(version) {
            let at = symbol.st_value.saturating_add(bias);
            info.symbols.insert((*wanted).to_owned(), at);
        }
    }
    Ok(())
}

/// `version`, or `version.0`.
fn is_version(name: &[u8]) -> bool {
    name.strip_prefix(VERSION.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'.' && rest[1..].iter().all(u8::is_ascii_digit))
}

/// The NUL-terminated name at an offset; empty if there is none.
fn name(strings: &[u8], offset: usize) -> &[u8] {
    let rest = strings.get(offset..).unwrap_or_default();
    rest.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn bytes(file: &File, offset: u64, size: u64) -> Result<Vec<u8>, Cause> {
    if size > MOST_BYTES || offset.saturating_add(size) > file.metadata()?.len() {
        return Err("a table lies outside of the file".into());
    }
    let mut bytes = vec![0; usize::try_from(size)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn page_size() -> Result<u64, Cause> {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    Ok(u64::try_from(size.unwrap_or(4096))?)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use callgate_testing::available;
    use py_spy::binary_parser::parse_binary;

    use super::*;

    /// The file that the interpreter lives in, as that says itself.
    fn interpreter() -> Option<PathBuf> {
        let ask = "import sys\nmaps = open('/proc/self/maps').read().split()\n\
                   print(next((w for w in maps if '/libpython3.' in w), sys.executable))";
        let output = std::process::Command::new("python3")
            .args(["-I", "-c", ask])
            .output();
        let found = match output {
            Ok(output) if output.status.success() => {
                Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
            }
            other => Err(format!("python3: {other:?}")),
        };
        available("python3", found.clone().map(drop)).then(|| found.unwrap())
    }

    #[test]
    fn it_finds_what_py_spy_finds_in_the_same_file() {
        let Some(path) = interpreter() else { return };
        let start = 0x7f00_0000_0000;
        let own = read(&File::open(&path).unwrap(), start, 1 << 24, Wanted::All)
            .unwrap()
            .info;
        let theirs = parse_binary(Path::new(&path), start, 1 << 24).unwrap();
        for name in SYMBOLS {
            assert_eq!(own.symbols.get(name), theirs.symbols.get(name), "{name}");
        }
        assert!(own.symbols.contains_key(RUNTIME));
        let less = read(&File::open(&path).unwrap(), start, 1 << 24, Wanted::Runtime)
            .unwrap()
            .info;
        assert_eq!(less.symbols.get(RUNTIME), own.symbols.get(RUNTIME));
        let sections = |info: &BinaryInfo| {
            (
                info.bss_addr,
                info.bss_size,
                info.pyruntime_addr,
                info.pyruntime_size,
            )
        };
        assert_eq!(sections(&own), sections(&theirs));
    }

    #[test]
    fn what_is_no_elf_file_or_cut_short_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for bytes in [&b""[..], &[b'x'; 100], &whole[..64], &whole[..4096]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(
                read(&File::open(&path).unwrap(), 0x1000, 0x1000, Wanted::All).is_err(),
                "{}",
                bytes.len()
            );
        }
    }

    #[test]
    fn a_numbered_version_is_a_version() {
        for (name, is) in [
            ("version", true),
            ("version.0", true),
            ("version.x", false),
            ("versions", false),
        ] {
            assert_eq!(is_version(name.as_bytes()), is, "{name}");
        }
    }
}
