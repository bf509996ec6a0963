//! What a module says of itself: `key=value` texts in its section `.modinfo`.

use super::elf;

/// The section, in bytes. They have some hundred.
const MAX_BYTES: usize = 1 << 20;

/// What of it counts here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModInfo {
    /// Names of modules that are loaded before it.
    pub(super) depends: Vec<String>,
    /// The kernel that it is for.
    pub(super) release: String,
}

impl ModInfo {
    /// Of a module, decompressed.
    pub(super) fn of(module: &[u8]) -> Option<Self> {
        let section = elf::section(module, b".modinfo")?;
        Self::parse(section.get(..MAX_BYTES).unwrap_or(section))
    }

    fn parse(section: &[u8]) -> Option<Self> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let mut depends = Vec::new();
        let mut release = None;
        for entry in section.split(|byte| *byte == 0).filter_map(text) {
            match entry.split_once('=') {
                Some(("depends", names)) => {
                    let names = names.split(',').filter(|name| !name.is_empty());
                    depends.extend(names.map(normal));
                }
                Some(("vermagic", magic)) => {
                    release = magic.split(' ').next().map(str::to_owned);
                }
                _ => {}
            }
        }
        Some(Self {
            depends,
            release: release?,
        })
    }
}

/// A module's name as the kernel has it: file names have hyphens for some of the underscores.
pub(super) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in a file `…/name.ko[.xz|.zst|.gz]`.
pub(super) fn name_of_file(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = ["", ".xz", ".zst", ".gz"]
        .iter()
        .find_map(|ending| file.strip_suffix(ending)?.strip_suffix(".ko"))?;
    (!stem.is_empty()).then(|| normal(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_says_is_read() {
        let section = b"license=GPL\0depends=virtio,virtio-ring\0retpoline=Y\0\0\
                        vermagic=6.1.0-56-cloud-amd64 SMP preempt mod_unload modversions \0";
        let info = ModInfo::parse(section).unwrap();
        assert_eq!(info.depends, ["virtio", "virtio_ring"]);
        assert_eq!(info.release, "6.1.0-56-cloud-amd64");
        assert_eq!(
            ModInfo::parse(b"depends=\0vermagic=6 x\0").unwrap().depends,
            [""; 0]
        );
        assert_eq!(ModInfo::parse(b"depends=a\0"), None);
        assert_eq!(ModInfo::parse(b"\xff\xfe=\0"), None);
        assert_eq!(ModInfo::of(b"\x7fELF"), None);
    }

    #[test]
    fn a_file_name_names_a_module() {
        let name = |path| name_of_file(path);
        assert_eq!(
            name("kernel/fs/overlayfs/overlay.ko").as_deref(),
            Some("overlay")
        );
        assert_eq!(name("a/virtio-ring.ko.xz").as_deref(), Some("virtio_ring"));
        assert_eq!(name("vsock.ko.zst").as_deref(), Some("vsock"));
        for path in ["a/.ko", "a/vsock", "a/vsock.ko.bak", ""] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
