//! Threat 32: what the process has that a guest would break into.

use std::collections::BTreeSet;

use crate::support::{boot, field};

#[tokio::test]
async fn firecracker_has_a_user_of_its_own_no_rights_and_nothing_of_the_host() {
    let (machine, traces) = boot("good").await.map_err(|(e, _)| e).unwrap();
    let [firecracker, guard, runner] = traces.line();
    let user = machine.user().to_string();
    let four = [user.as_str(); 4].join(" ");
    assert_eq!(field(firecracker, "Uid:"), four);
    assert_eq!(field(firecracker, "Gid:"), four);
    assert_eq!(field(firecracker, "Groups:"), "");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(firecracker, set), "0000000000000000", "{set}");
    }
    let of = |pid: u32, what: &str| std::fs::read_link(format!("/proc/{pid}/{what}")).unwrap();
    for namespace in ["mnt", "net", "pid", "ipc", "uts"] {
        let path = format!("ns/{namespace}");
        assert_ne!(
            of(firecracker, &path),
            of(std::process::id(), &path),
            "{namespace}"
        );
    }
    // Not even the runner's mounts.
    assert_ne!(of(firecracker, "ns/mnt"), of(runner, "ns/mnt"));
    assert_eq!(field(firecracker, "NSpid:").split(' ').count(), 2);
    assert_eq!(
        std::fs::read(format!("/proc/{firecracker}/environ")).unwrap(),
        b""
    );
    assert!(field(guard, "NSpid:").ends_with(" 1"));

    let limits = std::fs::read_to_string(format!("/proc/{firecracker}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max core file size"), "1");
    assert_eq!(limit("Max file size"), "4096");
    assert_eq!(limit("Max open files"), "2048");
    let score = std::fs::read_to_string(format!("/proc/{firecracker}/oom_score_adj"));
    assert!(score.unwrap().trim().parse::<i32>().unwrap() >= 500);
    machine.end().await.unwrap();
    traces.vanish();
}

#[tokio::test]
async fn there_is_nothing_in_the_jail_but_the_machines_own() {
    let (machine, traces) = boot("good").await.map_err(|(e, _)| e).unwrap();
    let [firecracker, guard, runner] = traces.line();
    let root = format!("/proc/{firecracker}/root");
    let names = |path: &str| -> BTreeSet<String> {
        std::fs::read_dir(format!("{root}{path}"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    };
    let found = names("/");
    let expected = [
        "api.sock",
        "dev",
        "firecracker",
        "firecracker.pid",
        "initramfs",
        "kernel",
        "run",
        "v.sock",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    let devices = ["kvm", "net", "urandom", "userfaultfd"].map(str::to_owned);
    assert!(
        names("/dev").is_subset(&devices.into()),
        "{:?}",
        names("/dev")
    );

    // What is given is a mount of its own that cannot be written.
    let mounts = std::fs::read_to_string(format!("/proc/{firecracker}/mountinfo")).unwrap();
    let places: Vec<(&str, &str)> = mounts
        .lines()
        .map(|line| {
            let mut fields = line.split(' ').skip(4);
            (fields.next().unwrap(), fields.next().unwrap())
        })
        .collect();
    let kernel = places
        .iter()
        .find(|(place, _)| *place == "/kernel")
        .unwrap();
    assert!(kernel.1.starts_with("ro,nosuid,nodev"), "{kernel:?}");
    for (place, _) in &places {
        assert!(["/", "/kernel", "/initramfs"].contains(place), "{mounts}");
    }
    // Nor is any of it among the host's.
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains("firecracker"), "{host}");

    // Nothing was passed on but its streams; what else it has it has opened.
    for pid in [firecracker, guard] {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let entry = entry.unwrap();
            let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
            let target = std::fs::read_link(entry.path()).unwrap();
            let target = target.to_string_lossy();
            let of_ours = target.contains("cgroup") || target.contains("/tmp/");
            assert!(!of_ours, "{pid} has {number}: {target}");
        }
    }
    assert!(std::path::Path::new(&format!("/proc/{runner}")).exists());
    machine.end().await.unwrap();
    traces.vanish();
}

/// Numbers are drawn from so many that two machines have another each whether or not anybody sees to
/// it: what sees to it is the lock.
#[tokio::test]
async fn a_machines_user_is_nobody_elses_for_as_long_as_it_lives() {
    let (first, one) = boot("good").await.map_err(|(e, _)| e).unwrap();
    let (second, two) = boot("good").await.map_err(|(e, _)| e).unwrap();
    let (user, other) = (first.user(), second.user());
    assert!(is_taken(user) && is_taken(other));
    first.end().await.unwrap();
    assert!(!is_taken(user) && is_taken(other));
    second.end().await.unwrap();
    assert!(!is_taken(other));
    one.vanish();
    two.vanish();
}

/// Whether somebody has locked the byte of this user.
fn is_taken(user: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::fs::metadata("/run/axocoatl/machine-users").unwrap();
    // From the first of them all.
    let byte = (user - 0x7800_0000).to_string();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "OFDLCK", _, "WRITE", _, of, start, end] = fields[..] else {
            return false;
        };
        of.ends_with(&format!(":{}", file.ino())) && (start, end) == (&*byte, &*byte)
    })
}
