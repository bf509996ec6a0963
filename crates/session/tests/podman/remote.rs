//! The real podman as it is on macOS and Windows: a client that asks another podman over a socket.

use std::time::Duration;

use axo_session::podman::{Os, ProbeRequest, Probed, Witness, probe};

use super::real::{podman, program};
use super::stand_in::StandIn;

/// What the podman of a machine has set. A machine has neither hybrid cgroups nor limits that cannot be
/// raised, as this host may; so its runtime is given, and below its limit on processes.
const SETTINGS: &str = "[engine]\nruntime = \"runc\"\n";

#[tokio::test]
async fn a_machines_podman_is_proved_over_its_socket() {
    let real = podman().program().display().to_string();
    let stand_in = StandIn::new(Os::MacOs).of_user(501);
    let settings = stand_in.home().join("containers.conf");
    std::fs::write(&settings, SETTINGS).unwrap();
    let socket = stand_in.home().join("podman.sock");
    let address = format!("unix://{}", socket.display());
    #[expect(clippy::disallowed_methods, reason = "the test plays the machine")]
    let mut service = std::process::Command::new(&real)
        .args(["system", "service", "--time", "120", &address])
        .env("CONTAINERS_CONF", &settings)
        .spawn()
        .unwrap();
    stand_in.program(
        "podman",
        &format!(
            "case \"$1\" in
    machine) echo '[{{\"Running\":true}}]' ;;
    run | create) verb=$1; shift; exec {real} --remote $verb --ulimit nproc=1024:1024 \"$@\" ;;
    *) exec {real} --remote \"$@\" ;;
esac"
        ),
    );
    for _ in 0..600 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let host = stand_in
        .host()
        .with_variable("CONTAINER_HOST", Some(&address));
    let request = ProbeRequest {
        program: program(),
        directory: stand_in.state(),
        bridge: false,
    };
    let probed = probe(&host, &request).await;
    service.kill().unwrap();
    service.wait().unwrap();
    match probed.unwrap() {
        Probed::Ready(proof) => {
            assert_eq!(proof.witness, Witness::Podman);
            assert!(proof.combination.global_options().is_empty());
        }
        Probed::Unready(unready) => panic!("{unready:#?}"),
    }
}
