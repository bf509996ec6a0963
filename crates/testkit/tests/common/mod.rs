//! What the tests of several tiers have in common.

pub(crate) mod csv;

use std::future::Future;

use axo_core::chain;
use axocoatl_isolation::{CallError, Outcome};
use serde_json::Value;

/// Runs `test` on a runtime like an embedding program's.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// What a tool answered that has to have done so.
pub(crate) fn answer(outcome: Result<Outcome, CallError>) -> Value {
    let outcome = outcome.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let document = outcome.document();
    document
        .unwrap_or_else(|| panic!("no answer: {outcome:?}"))
        .value()
        .clone()
}

/// Numbers without visible order (SplitMix64). `AXO_TEST_SEED` makes a run the one it was before.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        let given = std::env::var("AXO_TEST_SEED");
        let seed = given.ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.unwrap().subsec_nanos().into()
        });
        println!("AXO_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
