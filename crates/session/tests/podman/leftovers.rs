//! What probes that were killed left is removed by the next one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axo_session::podman::{Os, probe};

use super::stand_in::StandIn;

#[tokio::test]
async fn containers_of_dead_probes_are_removed_and_others_are_not() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.limited_container();
    stand_in.podman("");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let listed = format!(
        r#"[{{"Id":"dead","Labels":{{"io.axocoatl.probe":"{}"}}}},
            {{"Id":"alive","Labels":{{"io.axocoatl.probe":"{now}"}}}},
            {{"Id":"odd","Labels":{{"io.axocoatl.probe":"-1"}}}},
            {{"Id":"without","Labels":null}}]"#,
        now - 7200
    );
    let script = std::fs::read_to_string(stand_in.bin().join("podman")).unwrap();
    let body = script.split_once("log'\n").unwrap().1;
    stand_in.program(
        "podman",
        &body.replace("echo '[]' ;;", &format!("echo '{listed}' ;;")),
    );
    probe(&stand_in.host(), &stand_in.request()).await.unwrap();
    let removed: Vec<String> = stand_in
        .calls("podman")
        .into_iter()
        .filter(|call| call.starts_with("rm ") && !call.contains("axo-probe-"))
        .collect();
    assert_eq!(removed, ["rm --force --ignore --time 0 dead"]);
}

#[tokio::test]
async fn a_probe_that_is_dropped_removes_its_container() {
    let stand_in = StandIn::new(Os::Linux);
    stand_in.limited_container();
    stand_in.podman(r#"case "$all" in *run*--rm*) sleep 1000 ;; esac"#);
    let (host, request) = (stand_in.host(), stand_in.request());
    let call = tokio::spawn(async move { probe(&host, &request).await });
    let until = |wanted: &'static str| {
        let stand_in = &stand_in;
        async move {
            for _ in 0..1000 {
                let calls = stand_in.calls("podman").into_iter();
                let found = calls
                    .map(|c| c.to_owned())
                    .find(|call| call.contains(wanted));
                if let Some(call) = found {
                    return call;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("podman was not called with {wanted}");
        }
    };
    let run = until("run --rm").await;
    call.abort();
    let name = run
        .split_whitespace()
        .find(|word| word.starts_with("axo-probe-"))
        .unwrap();
    assert!(until("rm --force").await.ends_with(name));
    assert_eq!(std::fs::read_dir(stand_in.state()).unwrap().count(), 0);
}
