//! Threat 32: what the process has that a guest would break into.

use axo_tier_vm::machine::Machine;

use crate::guest::{config, connected, guest, processes};

#[tokio::test]
async fn firecracker_is_jailed_filtered_and_nobody() {
    let (config, id, _home) = config(b"");
    let machine = Machine::boot(config, &guest(), None).await.unwrap();
    connected(&machine).await;
    let [firecracker] = processes(&id)[..] else {
        panic!("{:?}", processes(&id));
    };
    let firecracker = format!("/proc/{firecracker}");
    let threads = std::fs::read_dir(format!("{firecracker}/task")).unwrap();
    let mut count = 0;
    for thread in threads {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        count += 1;
        let user = machine.user().to_string();
        assert_eq!(field("Uid:"), [user.as_str(); 4].join(" "));
        assert_eq!(field("Gid:"), [user.as_str(); 4].join(" "));
        assert_eq!(field("Groups:"), "");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        // Firecracker's own filter.
        assert_eq!(
            (field("NoNewPrivs:"), field("Seccomp:")),
            ("1".into(), "2".into())
        );
    }
    assert!(count >= 3, "its API, itself and a processor: {count}");
    let network = std::fs::read_to_string(format!("{firecracker}/net/dev")).unwrap();
    let interfaces: Vec<_> = network
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    assert_eq!(interfaces, ["lo"]);
    machine.end().await.unwrap();
}
