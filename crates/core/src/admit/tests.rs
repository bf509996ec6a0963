use super::*;
use crate::{CallOptions, HostPort, Requirement, Run, Size, ToolName, WasmSource};
use proptest::prelude::*;
use serde_json::json;

fn spec(name: &str, run: Run) -> ToolSpec {
    ToolSpec::new(ToolName::parse(name).unwrap(), Requirement::Wasm, run)
}

fn wasm() -> ToolSpec {
    let mut spec = spec("t", Run::Wasm(WasmSource::File("/tools/t/t.wasm".into())));
    spec.directory = Some("/tools/t".into());
    spec
}

fn try_admit(
    policy: &Policy,
    spec: ToolSpec,
    options: CallOptions,
) -> Result<AdmittedCall, Denied> {
    let call = ToolCall::new(spec.name.clone(), json!({})).with_options(options);
    admit(policy, &Arc::new(spec), call, &|name| {
        (name == "TZ").then(|| "UTC".to_owned())
    })
}

fn grants(f: impl FnOnce(&mut Grants)) -> CallOptions {
    let mut options = CallOptions::default();
    f(&mut options.grants);
    options
}

#[test]
fn nothing_is_granted_by_default() {
    let wishes: [fn(&mut Grants); 4] = [
        |g| g.network.push(HostPort::parse("example.com:443").unwrap()),
        |g| g.env.push(EnvGrant::parse("TZ").unwrap()),
        |g| g.secrets.push("KEY".into()),
        |g| g.mounts.push(Mount::parse("/srv:/data").unwrap()),
    ];
    for wish in wishes {
        let mut asking = wasm();
        wish(&mut asking.grants);
        assert!(try_admit(&Policy::default(), asking, CallOptions::default()).is_err());
        assert!(try_admit(&Policy::default(), wasm(), grants(wish)).is_err());
    }
}

#[test]
fn a_named_variable_gets_the_hosts_value_and_an_absent_one_is_left_out() {
    let mut policy = Policy::default();
    policy.grants.env = vec!["TZ".into(), "LANG".into()];
    let options = grants(|g| {
        g.env = vec![
            EnvGrant::parse("TZ").unwrap(),
            EnvGrant::parse("LANG").unwrap(),
        ];
    });
    let admitted = try_admit(&policy, wasm(), options).unwrap();
    assert_eq!(
        admitted.grants.env,
        vec![EnvGrant::parse("TZ=UTC").unwrap()]
    );
}

#[test]
fn a_mount_must_lie_beneath_what_the_policy_allows() {
    let mut policy = Policy::default();
    policy.grants.mounts = vec![crate::MountRule {
        source: "/srv/data".into(),
        mode: MountMode::ReadOnly,
    }];
    let allowed = |text: &str| {
        let mount = Mount::parse(text).unwrap();
        try_admit(&policy, wasm(), grants(|g| g.mounts.push(mount))).is_ok()
    };
    assert!(allowed("/srv/data:/d") && allowed("/srv/data/x:/d") && allowed("/tools/t/data:/d"));
    for bad in [
        "/srv:/d",
        "/srv/database:/d",
        "/srv/data/../x:/d",
        "/srv/data:/d:rw",
        "/tools/t:/d:rw",
        "data:/d",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}

#[test]
fn a_limit_above_the_ceiling_is_refused_and_a_default_is_lowered_to_it() {
    let mut policy = Policy::default();
    policy.ceilings.memory = Some(Size::from_mib(64));
    assert_eq!(
        try_admit(&policy, wasm(), CallOptions::default())
            .unwrap()
            .limits
            .memory,
        Size::from_mib(64)
    );
    let mut asking = wasm();
    asking.limits.memory = Some(Size::from_mib(65));
    let denied = try_admit(&policy, asking, CallOptions::default()).unwrap_err();
    assert!(
        matches!(
            denied.reason,
            DenyReason::AboveCeiling {
                limit: "memory",
                ..
            }
        ),
        "{denied}"
    );
}

#[test]
fn a_native_tool_runs_only_if_named_by_the_operator() {
    let native = || spec("du", Run::Command(vec!["/usr/bin/du".into()]));
    let denied = try_admit(&Policy::default(), native(), CallOptions::default()).unwrap_err();
    assert_eq!(denied.reason, DenyReason::NotTrusted);
    let mut policy = Policy::default();
    policy.native.insert(
        ToolName::parse("du").unwrap(),
        crate::NativeCommand::default(),
    );
    assert!(try_admit(&policy, native(), CallOptions::default()).is_ok());
}

fn tiers() -> impl Strategy<Value = Tier> {
    proptest::sample::select(Tier::ALL.to_vec())
}

proptest! {
    #[test]
    fn manifest_and_caller_only_raise_the_minimum(
        operator in proptest::option::of(tiers()),
        manifest in proptest::option::of(tiers()),
        caller in proptest::option::of(tiers()),
    ) {
        let mut policy = Policy::default();
        policy.tool_minimum.extend(operator.map(|tier| (ToolName::parse("t").unwrap(), tier)));
        let mut asking = wasm();
        asking.min_tier = manifest;
        let options = CallOptions { min_tier: caller, ..CallOptions::default() };
        let admitted = try_admit(&policy, asking, options).unwrap();
        let floor = operator.unwrap_or(Tier::Wasm);
        prop_assert_eq!(Some(admitted.minimum), [Some(floor), manifest, caller].into_iter().flatten().max());
    }

    #[test]
    fn no_admitted_limit_is_above_its_ceiling(
        asked in proptest::option::of(1u64..1000),
        ceiling in proptest::option::of(1u64..1000),
    ) {
        let mut policy = Policy::default();
        policy.ceilings.memory = ceiling.map(Size::from_mib);
        let mut asking = wasm();
        asking.limits.memory = asked.map(Size::from_mib);
        match try_admit(&policy, asking, CallOptions::default()) {
            Ok(admitted) => prop_assert!(ceiling.is_none_or(|c| admitted.limits.memory <= Size::from_mib(c))),
            Err(_) => prop_assert!(asked > ceiling),
        }
    }
}
