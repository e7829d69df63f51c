//! The tables by which an object can be unwound, found in the memory that it is mapped to.

use framehop::{ExplicitModuleSectionInfo, Module};
use goblin::container::{Container, Ctx};
use goblin::elf::header::ELFCLASS64;
use goblin::elf::program_header::{PT_GNU_EH_FRAME, PT_LOAD};
use goblin::elf::{Elf, ProgramHeader};

use crate::maps::Mapping;

/// The longest ELF header (elf(5), `Elf64_Ehdr`).
const HEADER: usize = 64;

/// The most bytes that are read of one object's tables; those of LLVM take some 10 MB.
const MOST_BYTES: u64 = 32 << 20;

/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4` (LSB core specification, 10.5): what all linkers write.
const RELATIVE: u8 = 0x1b;

/// Finds the tables of the object that is mapped from `base`. `None` if it has none, or others than usual.
pub(super) fn module(
    mapping: &Mapping,
    base: u64,
    read: impl Fn(u64, usize) -> Vec<u8>,
) -> Option<Module<Vec<u8>>> {
    let header = Elf::parse_header(&read(base, HEADER)).ok()?;
    if header.e_ident[4] != ELFCLASS64 {
        return None;
    }
    let ctx = Ctx::new(Container::Big, header.endianness().ok()?);
    let count = usize::from(header.e_phnum);
    let programs = read(
        base.checked_add(header.e_phoff)?,
        count.checked_mul(usize::from(header.e_phentsize))?,
    );
    let programs = ProgramHeader::parse(&programs, 0, count, ctx).ok()?;
    let first = programs.iter().find(|program| program.p_type == PT_LOAD)?;
    let bias = base.checked_sub(first.p_vaddr.checked_sub(first.p_offset)?)?;

    let index = programs
        .iter()
        .find(|program| program.p_type == PT_GNU_EH_FRAME)?;
    let index_svma = index.p_vaddr..index.p_vaddr.checked_add(index.p_memsz)?;
    let segment = programs.iter().find(|program| {
        program.p_type == PT_LOAD
            && program
                .p_vaddr
                .checked_add(program.p_filesz)
                .is_some_and(|end| (program.p_vaddr..end).contains(&index.p_vaddr))
    })?;
    let index = read(bias.checked_add(index.p_vaddr)?, size(&index_svma)?);
    // Version, how the frames' address is encoded, how the table is, and that address.
    let &[1, RELATIVE, _, _, a, b, c, d, ..] = index.as_slice() else {
        return None;
    };
    let distance = i64::from(i32::from_ne_bytes([a, b, c, d]));
    let frames = index_svma.start.checked_add(4)?.checked_add_signed(distance)?;
    // They go on to the end of their segment at the most; the index says where each begins.
    let frames_svma = frames..segment.p_vaddr + segment.p_filesz;
    let frames = read(bias.checked_add(frames)?, size(&frames_svma)?);
    let end = frames_svma.start + frames.len() as u64;
    Some(Module::new(
        mapping.file.clone(),
        mapping.from..mapping.to,
        bias,
        ExplicitModuleSectionInfo {
            base_svma: 0,
            eh_frame_svma: Some(frames_svma.start..end),
            eh_frame: Some(frames),
            eh_frame_hdr_svma: Some(index_svma),
            eh_frame_hdr: Some(index),
            ..ExplicitModuleSectionInfo::default()
        },
    ))
}

fn size(range: &std::ops::Range<u64>) -> Option<usize> {
    let size = range.end.checked_sub(range.start)?;
    (size <= MOST_BYTES).then_some(usize::try_from(size).ok()?)
}

#[cfg(test)]
mod tests {
    use callgate_tracee::Frame;
    use framehop::{CacheNative, FrameAddress, MayAllocateDuringUnwind, Unwinder, UnwinderNative};

    use super::*;
    use crate::arch::registers;
    use crate::maps::Maps;

    /// Reads our own memory, as far as it is there.
    fn own(address: u64, len: usize) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; len];
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let read = memory.read_at(&mut bytes, address).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    #[test]
    fn the_tables_of_the_c_library_are_found_and_unwind_its_functions() {
        let pid = std::process::id() as i32;
        let mut maps = Maps::default();
        let getpid = libc::getpid as unsafe extern "C" fn() -> i32 as usize as u64;
        let mapping = maps.mapping(pid, getpid).unwrap();
        let module = module(mapping, mapping.base.unwrap(), own).unwrap();
        let mut unwinder: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind> = UnwinderNative::new();
        unwinder.add_module(module);
        let mut cache = CacheNative::<MayAllocateDuringUnwind>::new();
        let mut registers = registers(&Frame {
            instruction: getpid,
            stack: 0x1000,
            frame: 0,
            link: 0x4444,
        });
        let mut stack = |address| if address == 0x1000 { Ok(0x4444) } else { Err(()) };
        let at = FrameAddress::from_instruction_pointer(getpid);
        let caller = unwinder.unwind_frame(at, &mut registers, &mut cache, &mut stack);
        assert_eq!(caller.unwrap(), Some(0x4444));
    }
}
