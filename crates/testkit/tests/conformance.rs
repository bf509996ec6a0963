//! Every case on every tier there is; and every case is seen to fail where a tier is broken.

use axo_testkit::{Case, Subject, Subjects, Verdict, all, check, sabotaged};

/// A host that is busy with something else can hide what a case looks at, such as how fast a tool
/// runs. A case that notices a broken tier in one of so many tries is not blind.
const TRIES: usize = 5;

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
            if !notices(&case, subject).await {
                blind.push(format!("{} on {}", case.name, subject.name));
            }
        }
        assert!(seen, "no tier can be held to {}", case.name);
    }
    assert!(blind.is_empty(), "not noticed: {}", blind.join(", "));
}

async fn notices(case: &Case, subject: &Subject) -> bool {
    for _ in 0..TRIES {
        if sabotaged(case, subject).await.is_some() {
            return true;
        }
    }
    false
}
