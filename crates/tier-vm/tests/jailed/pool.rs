//! Machines that wait in a pool.

use std::time::{Duration, Instant};

use axo_core::{Requirement, Run, ToolName, ToolSpec};
use axo_tier_oci::supervise::{Key, Pool};
use axo_tier_vm::machine::Machine;

use crate::support::{boot, kill, lives};

#[tokio::test]
async fn one_that_died_while_it_waited_is_not_taken_and_all_end_with_their_pool() {
    let name = ToolName::parse("t").unwrap();
    let key = Key {
        tool: ToolSpec::new(name, Requirement::ContainerImage, Run::Function).id(),
        made_of: "a machine".into(),
    };
    let pool = Pool::new(4, 4, Machine::lives);
    let mut all = Vec::new();
    let mut users = Vec::new();
    for _ in 0..4 {
        let (machine, traces) = boot("good").await.map_err(|(e, _)| e).unwrap();
        users.push(machine.user());
        pool.put(key.clone(), machine);
        all.push(traces);
    }
    assert_eq!(pool.wants(&key), 0);
    // Of the first its Firecracker is killed, of the second its runner.
    let ([firecracker, _, first], [_, _, second]) = (all[0].line(), all[1].line());
    kill(firecracker);
    kill(second);
    let deadline = Instant::now() + Duration::from_secs(10);
    while lives(first) || lives(second) {
        assert!(Instant::now() < deadline, "they live on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let taken = pool.take(&key).expect("two of them live");
    assert_eq!(taken.user(), users[2]);
    assert_eq!(pool.wants(&key), 3);
    assert!(!all[3].processes().is_empty());
    taken.end().await.unwrap();
    drop(pool);
    let gone = tokio::task::spawn_blocking(move || all.iter().for_each(|traces| traces.vanish()));
    gone.await.unwrap();
}
