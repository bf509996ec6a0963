//! What is built into a kernel: as the list beside its modules says, or its own configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::bufread::GzDecoder;

use super::modinfo::name_of_file;
use super::modules::{NEEDED, Need};
use super::{KernelError, within};
use crate::files;

/// A list or a configuration, in bytes. They have some hundred thousand.
const MAX_LIST_BYTES: u64 = 8 << 20;

/// What the configuration in a kernel stands between (`kernel/configs.c`).
const BEGIN: &[u8] = b"IKCFG_ST";

/// The names in a file `modules.builtin`.
pub(super) fn list(what: &str, file: impl Read) -> Result<BTreeSet<String>, KernelError> {
    let bytes = files::read_to(file, MAX_LIST_BYTES)
        .map_err(|error| KernelError::malformed(what, error.to_string()))?;
    let text = String::from_utf8_lossy(&within(what, bytes, MAX_LIST_BYTES)?).into_owned();
    Ok(text.lines().filter_map(name_of_file).collect())
}

/// The options of a kernel that carries its configuration.
pub(super) fn config(elf: &[u8]) -> Option<BTreeMap<String, String>> {
    let at = elf
        .windows(BEGIN.len())
        .position(|window| window == BEGIN)?;
    let packed = elf.get(at + BEGIN.len()..)?;
    let text = files::read_to(GzDecoder::new(packed), MAX_LIST_BYTES).ok()?;
    let text = String::from_utf8(text).ok()?;
    let option = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    Some(text.lines().filter_map(option).collect())
}

/// Whether what a guest needs is built in, as far as it is `asked` for.
pub(super) fn check(
    release: &str,
    config: &BTreeMap<String, String>,
    asked: impl Fn(&Need) -> bool,
) -> Result<(), KernelError> {
    let has = |option: &str| config.get(option).is_some_and(|value| value == "y");
    let lacks: Vec<String> = NEEDED
        .iter()
        .filter(|need| asked(need) && !has(need.option))
        .map(|need| format!("{}=y", need.option))
        .collect();
    if lacks.is_empty() {
        return Ok(());
    }
    Err(KernelError::Lacks {
        release: release.to_owned(),
        lacks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(config: &str) -> Vec<u8> {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(config.as_bytes(), flate2::Compression::fast())
            .read_to_end(&mut packed)
            .unwrap();
        [b"\x7fELF ... IKCFG_ST", &packed[..], b"IKCFG_ED"].concat()
    }

    #[test]
    fn a_kernel_that_carries_its_configuration_is_believed() {
        let all: String = NEEDED
            .iter()
            .map(|need| format!("{}=y\n", need.option))
            .collect();
        let config_of = |text: &str| config(&kernel(text)).unwrap();
        assert!(check("6", &config_of(&all), |_| true).is_ok());
        let module = all.replace("SQUASHFS=y", "SQUASHFS=m");
        let module = config_of(&module);
        let error = check("6", &module, |_| true).unwrap_err().to_string();
        assert!(error.contains("CONFIG_SQUASHFS=y"), "{error}");
        assert!(!error.contains("CONFIG_ACPI"), "{error}");
        // Where modules are given, what may be one is looked for among them.
        let no_module = |need: &Need| need.module.is_none();
        assert!(check("6", &module, no_module).is_ok());
        let unlimited = config_of(&all.replace("CONFIG_MEMCG=y\n", ""));
        let error = check("6", &unlimited, no_module).unwrap_err().to_string();
        assert!(error.contains("CONFIG_MEMCG=y"), "{error}");
        assert_eq!(config(b"\x7fELF IKCFG_ST but no gzip"), None);
        assert_eq!(config(b"\x7fELF"), None);
    }

    #[test]
    fn the_list_of_what_is_built_in_is_read() {
        let text = "kernel/drivers/virtio/virtio.ko\nkernel/fs/ext4/ext4.ko\n";
        let names = list("l", text.as_bytes()).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["ext4", "virtio"]);
    }
}
