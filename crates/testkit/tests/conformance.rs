//! Every case on every tier there is; and every case is seen to fail where a tier is broken.

use axo_testkit::{Subjects, Verdict, all, check, sabotaged};

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_passes_every_case_it_can_be_held_to() {
    let subjects = Subjects::new();
    let mut failures = Vec::new();
    for case in all() {
        for subject in &subjects.all {
            if let Verdict::Fail(problem) = check(&case, subject).await {
                failures.push(format!("{} on {}: {problem}", case.name, subject.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_fails_on_a_tier_that_is_broken() {
    let subjects = Subjects::new();
    let mut blind = Vec::new();
    for case in all() {
        let mut seen = false;
        for subject in &subjects.all {
            if matches!(check(&case, subject).await, Verdict::Cannot(_)) {
                continue;
            }
            seen = true;
            if sabotaged(&case, subject).await.is_none() {
                blind.push(format!("{} on {}", case.name, subject.name));
            }
        }
        assert!(seen, "no tier can be held to {}", case.name);
    }
    assert!(blind.is_empty(), "not noticed: {}", blind.join(", "));
}
