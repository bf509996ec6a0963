use super::*;
use crate::{
    CallOptions, Capabilities, EnvGrant, Grants, Policy, Run, ToolCall, ToolName, WasmSource, admit,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

const FORMS: [Form; 5] = [
    Form::Wasm,
    Form::Bundle,
    Form::Image,
    Form::Command,
    Form::Function,
];
const GRANTS: [GrantKind; 4] = [
    GrantKind::Network,
    GrantKind::Env,
    GrantKind::Secrets,
    GrantKind::Mounts,
];

fn readiness() -> impl Strategy<Value = Readiness> {
    let ready = (
        subsequence(FORMS.to_vec(), 0..=5),
        subsequence(LimitKind::ALL.to_vec(), 0..=8),
        subsequence(GRANTS.to_vec(), 0..=4),
    )
        .prop_map(|(forms, limits, grants)| {
            // The lists of real tiers are constants; the few made here may live on.
            Readiness::Ready(Capabilities {
                forms: forms.leak(),
                limits: limits.leak(),
                grants: grants.leak(),
            })
        });
    let missing = Just(Readiness::Unavailable {
        reason: "no".into(),
        fix: "install it".into(),
    });
    prop_oneof![3 => ready, 1 => missing]
}

fn host() -> impl Strategy<Value = Vec<TierStatus>> {
    proptest::collection::vec(readiness(), 4).prop_map(|states| {
        Tier::ALL
            .into_iter()
            .zip(states)
            .map(|(tier, readiness)| TierStatus { tier, readiness })
            .collect()
    })
}

fn run() -> impl Strategy<Value = Run> {
    select(vec![
        Run::Wasm(WasmSource::File("/t".into())),
        Run::Bundle("/t".into()),
        Run::Image {
            reference: "i".into(),
            command: vec![],
            files: None,
        },
        Run::Command(vec!["/t".into()]),
        Run::Function,
    ])
}

prop_compose! {
    fn admitted()(
        run in run(),
        requires in select(Requirement::ALL.to_vec()),
        operator in proptest::option::of(select(Tier::ALL.to_vec())),
        only in proptest::option::of(select(Tier::ALL.to_vec())),
        fuel in proptest::option::of(1u64..9),
        files in proptest::option::of(1u32..9),
        env in any::<bool>(),
        stand_in in any::<bool>(),
    ) -> AdmittedCall {
        let name = ToolName::parse("t").unwrap();
        let mut policy = Policy { stand_in, ..Policy::default() };
        policy.native_functions.push(name.clone());
        policy.tool_minimum.extend(operator.map(|tier| (name.clone(), tier)));
        policy.grants.env.push("A".into());
        let mut options = CallOptions { tier: only, ..CallOptions::default() };
        options.limits.fuel = fuel;
        options.limits.files = files;
        if env {
            options.grants = Grants { env: vec![EnvGrant::parse("A=1").unwrap()], ..Grants::default() };
        }
        let call = ToolCall::new(name.clone(), json!(null)).with_options(options);
        admit(&policy, &Arc::new(ToolSpec::new(name, requires, run)), call, &|_| None).unwrap()
    }
}

proptest! {
    #[test]
    fn a_placed_call_never_gets_less_than_was_asked(call in admitted(), host in host()) {
        if let Ok(placed) = place(call.clone(), &host) {
            prop_assert!(placed.tier() >= call.minimum, "below the minimum");
            prop_assert!(call.only.is_none_or(|only| only == placed.tier()));
            let status = host.iter().find(|status| status.tier == placed.tier()).unwrap();
            let Readiness::Ready(can) = &status.readiness else { panic!("a tier that is not ready") };
            prop_assert!(can.forms.contains(&call.spec.run.form()));
            prop_assert!(call.asked_limits().all(|limit| can.limits.contains(&limit)));
            prop_assert!(call.granted_kinds().all(|grant| can.grants.contains(&grant)));
            let natural = call.minimum.max(natural_tier(call.spec.run.form()));
            prop_assert!(call.stand_in || placed.tier() <= natural);
        }
    }

    #[test]
    fn the_weakest_tier_that_serves_is_taken(call in admitted(), host in host()) {
        let first = host.iter().find(|status| exclusion(&call, status).is_none()).map(|status| status.tier);
        prop_assert_eq!(place(call, &host).ok().map(|placed| placed.tier()), first);
    }

    #[test]
    fn every_decision_is_explained(call in admitted(), host in host()) {
        let placement = match place(call, &host) {
            Ok(placed) => {
                prop_assert_eq!(placed.placement().chosen, Some(placed.tier()));
                placed.placement().clone()
            }
            Err(denied) => {
                prop_assert!(!denied.fix.is_empty());
                denied.placement().unwrap().clone()
            }
        };
        prop_assert_eq!(placement.candidates.len(), 4);
        for candidate in &placement.candidates {
            prop_assert_eq!(candidate.exclusion.is_none(), Some(candidate.tier) == placement.chosen);
            prop_assert!(placement.to_string().contains(&candidate.to_string()));
        }
    }
}

#[test]
fn a_missing_tier_is_never_replaced_by_a_weaker_one() {
    let all = |_: Tier| Capabilities {
        forms: &FORMS,
        limits: &LimitKind::ALL,
        grants: &GRANTS,
    };
    let host: Vec<_> = Tier::ALL
        .into_iter()
        .map(|tier| TierStatus {
            tier,
            readiness: match tier {
                Tier::MicroVm => Readiness::Unavailable {
                    reason: "/dev/kvm is missing".into(),
                    fix: "enable virtualisation".into(),
                },
                tier => Readiness::Ready(all(tier)),
            },
        })
        .collect();
    let name = ToolName::parse("t").unwrap();
    let run = Run::Image {
        reference: "i".into(),
        command: vec![],
        files: None,
    };
    let spec = Arc::new(ToolSpec::new(name.clone(), Requirement::Python, run));
    let call = ToolCall::new(name, json!(null));
    let call = admit(&Policy::default(), &spec, call, &|_| None).unwrap();
    let denied = place(call, &host).unwrap_err();
    // What can be helped is told first.
    let told = denied.to_string();
    assert!(
        told.contains("can run it; microvm: not available: /dev/kvm is missing"),
        "{told}"
    );
    assert!(denied.fix.contains("enable virtualisation"));
}
