//! Many containers made at the same moment: none has a masked path open (threat 20).

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::host::{Before, alone};
use crate::site::{MINUTE, Site, answer, ask, block_on, call, engine};

const AT_ONCE: u32 = 200;

#[test]
fn of_200_containers_made_at_once_all_are_masked() {
    let _alone = alone();
    let site = Site::new();
    block_on(async {
        let engine = Arc::new(engine(site.path(), 0, AT_ONCE, None));
        ask(&engine, json!({"op": "echo"})).await;
        let before = Before::now();
        let start = Instant::now();
        let calls = (0..AT_ONCE).map(|_| {
            let engine = Arc::clone(&engine);
            let call = call(json!({"op": "masked"}), None, MINUTE);
            tokio::spawn(async move { engine.call(call).await })
        });
        for call in calls.collect::<Vec<_>>() {
            let found = answer(call.await.unwrap());
            let paths = found["masked"].as_object().expect("the paths");
            assert!(paths.len() > 5, "{found}");
            for (path, size) in paths {
                // Absent: minus an errno. Masked: without content.
                assert!(
                    size.as_i64().is_some_and(|size| size <= 0),
                    "{path}: {found}"
                );
            }
        }
        println!("{AT_ONCE} at once: {:.1} s", start.elapsed().as_secs_f64());
        before.nothing_came(0);
    });
}
