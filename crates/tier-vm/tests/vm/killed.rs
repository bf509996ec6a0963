//! Threat 45: whoever is killed, nothing is left of a machine whose guest runs.

use axo_tier_vm::machine::{How, Machine};

use crate::guest::{LONG, cgroups, config, connected, field, guest, processes, vanishes};

fn parent(pid: u32) -> u32 {
    field(pid, "PPid:").parse().unwrap()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_machine_ends_with_its_runner_its_guard_and_its_engines_interest() {
    for victim in ["Firecracker", "guard", "runner", "nobody"] {
        let (config, id, _home) = config(b"");
        let machine = Machine::boot(config, &guest(), None).await.unwrap();
        connected(&machine).await;
        let [firecracker] = processes(&id)[..] else {
            panic!("{:?}", processes(&id));
        };
        assert!(!cgroups(&id).is_empty());
        let guard = parent(firecracker);
        match victim {
            "Firecracker" => kill(firecracker),
            "guard" => kill(guard),
            "runner" => kill(parent(guard)),
            _ => {}
        }
        if victim != "nobody" {
            let end = tokio::time::timeout(LONG, machine.ended()).await.unwrap();
            assert_eq!(matches!(end.how, How::Runner(_)), victim == "runner");
        }
        drop(machine);
        vanishes(&id).await;
    }
}

#[tokio::test]
async fn what_a_machine_may_use_is_the_kernels_to_say() {
    let (config, id, _home) = config(b"");
    let machine = Machine::boot(config, &guest(), None).await.unwrap();
    connected(&machine).await;
    let [directory] = &cgroups(&id)[..] else {
        panic!("{:?}", cgroups(&id));
    };
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap();
    assert_eq!(read("memory.max").trim(), (192_u64 << 20).to_string());
    assert_eq!(read("cpu.max").trim(), "100000 100000");
    assert_eq!(read("pids.max").trim(), "64");
    let members = read("cgroup.procs");
    let [firecracker] = processes(&id)[..] else {
        panic!("{:?}", processes(&id));
    };
    // A kernel's thread that works for the machine is accounted with it.
    let members: Vec<u32> = members
        .lines()
        .map(|pid| pid.parse().unwrap())
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok())
        .collect();
    assert_eq!(members.len(), 2, "the guard and Firecracker");
    assert!(members.contains(&firecracker) && members.contains(&parent(firecracker)));
    machine.end().await.unwrap();
    assert_eq!(cgroups(&id), Vec::<std::path::PathBuf>::new());
}
