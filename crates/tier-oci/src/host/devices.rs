//! The devices that a sandbox may use where cgroup v1 decides it: type, numbers, and whether it may
//! read, write and make nodes of it. On v2 it has those that it has nodes of, and can make none.

/// Null, zero, full, random, urandom, and tty.
pub(super) fn container_devices() -> Vec<String> {
    [
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Null, random, urandom and kvm. The jailer makes nodes of the network's tun and of userfaultfd
/// whether they are wanted or not, and gives up where it may not; they cannot be opened.
pub(super) fn machine_devices() -> Vec<String> {
    let misc = std::fs::read_to_string("/proc/misc").unwrap_or_default();
    let fixed = [
        "c 1:3 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 10:232 rwm",
        "c 10:200 m",
    ];
    let userfaultfd = minor_of(&misc, "userfaultfd").map(|minor| format!("c 10:{minor} m"));
    fixed
        .map(str::to_owned)
        .into_iter()
        .chain(userfaultfd)
        .collect()
}

/// The minor number of a device in `/proc/misc`, whose lines are a number and a name.
fn minor_of(misc: &str, name: &str) -> Option<u32> {
    misc.lines().find_map(|line| {
        let (minor, found) = line.trim().split_once(' ')?;
        (found.trim() == name).then(|| minor.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_device_is_found_by_its_name() {
        let misc = "122 userfaultfd\n232 kvm\n 59 device-mapper\nodd\n";
        assert_eq!(minor_of(misc, "userfaultfd"), Some(122));
        assert_eq!(minor_of(misc, "device-mapper"), Some(59));
        assert_eq!(minor_of(misc, "tun"), None);
    }

    #[test]
    fn a_machine_uses_kvm_and_no_network() {
        let devices = machine_devices();
        assert!(devices.contains(&"c 10:232 rwm".to_owned()));
        assert!(devices.contains(&"c 10:200 m".to_owned()));
        assert!(!container_devices().iter().any(|d| d.starts_with("c 10:")));
    }
}
