//! What is looked at in an ELF: whether it is a kernel, and the sections of modules.

use object::LittleEndian;
use object::elf::{EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::KernelError;

/// What precedes the release in every kernel (`linux_banner` in `init/version.c`).
const BANNER: &[u8] = b"Linux version ";

/// The longest release, in bytes: a field of `struct utsname`.
const MAX_RELEASE_BYTES: usize = 64;

/// Whether `elf` is a kernel that Firecracker boots, and which release it is.
pub(super) fn check_kernel(what: &str, elf: &[u8]) -> Result<String, KernelError> {
    let malformed = |problem: &str| KernelError::malformed(what, problem);
    let header = header(elf).ok_or_else(|| malformed("it is no 64-bit little-endian ELF"))?;
    if header.e_machine(LittleEndian) != EM_X86_64 {
        return Err(malformed("it is not for x86-64"));
    }
    let kind = header.e_type(LittleEndian);
    if kind != ET_EXEC && kind != ET_DYN {
        return Err(malformed("it is an ELF that cannot be executed"));
    }
    let segments = header
        .program_headers(LittleEndian, elf)
        .map_err(|_| malformed("its segments lie outside of it"))?;
    let mut loaded = segments
        .iter()
        .filter(|segment| segment.p_type(LittleEndian) == PT_LOAD)
        .peekable();
    if loaded.peek().is_none() {
        return Err(malformed("it has no segment to load"));
    }
    if loaded.any(|segment| segment.data(LittleEndian, elf).is_err()) {
        return Err(malformed("a segment of it lies outside of it"));
    }
    release(elf).ok_or_else(|| malformed("it does not say which release of Linux it is"))
}

/// The bytes of a section of a module.
pub(super) fn section<'a>(elf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let header = header(elf)?;
    let sections = header.sections(LittleEndian, elf).ok()?;
    let (_, section) = sections.section_by_name(LittleEndian, name)?;
    section.data(LittleEndian, elf).ok()
}

fn header(elf: &[u8]) -> Option<&FileHeader64<LittleEndian>> {
    let header = FileHeader64::<LittleEndian>::parse(elf).ok()?;
    header.is_little_endian().then_some(header)
}

fn release(elf: &[u8]) -> Option<String> {
    let mut from = 0;
    loop {
        let rest = elf.get(from..)?;
        let at = rest
            .windows(BANNER.len())
            .position(|window| window == BANNER)?;
        let after = rest.get(at + BANNER.len()..)?;
        let release: Vec<u8> = after
            .iter()
            .copied()
            .take(MAX_RELEASE_BYTES)
            .take_while(u8::is_ascii_graphic)
            .collect();
        // The same words stand in a format string as well, without a release.
        if release.first().is_some_and(u8::is_ascii_digit) {
            return String::from_utf8(release).ok();
        }
        from += at + BANNER.len();
    }
}
