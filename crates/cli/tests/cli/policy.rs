//! The operator's `policy.toml`.

use crate::support::Home;

const ECHO: &str = r#"{"op":"echo"}"#;

#[test]
fn a_bad_policy_stops_every_call_with_file_line_and_key() {
    let home = Home::new();
    let path = home.path().join("config/policy.toml");
    let cases = [
        (
            "stand_in = true\n[ceilings]\nmemry = \"1GiB\"\n",
            ":3: ceilings.memry: unknown field",
        ),
        (
            "[min_tier]\npython = \"none\"\n",
            ":2: min_tier.python: \"none\" is no isolation",
        ),
        ("[ceilings]\nmemory = 64\n", ":2: ceilings.memory: "),
        (
            "[native.du]\ncommand = [\"du\"]\n",
            ":2: native.du.command: ",
        ),
        ("[ceilings\n", ":1: "),
    ];
    for (text, problem) in cases {
        home.policy(text);
        let place = format!("{}{problem}", path.display());
        home.probe(ECHO, &[]).exits(125, &[&place]);
        home.axocoatl(&["tool", "ls"]).exits(125, &[&place]);
        let doctor = home.axocoatl(&["doctor"]);
        assert_eq!(doctor.code(), Some(1), "{doctor}");
        assert!(doctor.out().contains(&place), "{doctor}");
    }
    assert!(!home.audit_log().exists(), "nothing has run");
}

#[test]
fn a_policy_that_cannot_be_read_stops_every_call() {
    let home = Home::new();
    std::fs::create_dir_all(home.path().join("config/policy.toml")).unwrap();
    home.probe(ECHO, &[]).exits(
        125,
        &[
            "reading the policy",
            "policy.toml",
            "remove it for the defaults",
        ],
    );
}

/// The rules are somewhere, and cannot be had now.
#[test]
fn a_policy_that_is_a_link_to_nothing_stops_every_call() {
    let home = Home::new();
    let policy = home.path().join("config/policy.toml");
    std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/absent/policy.toml", &policy).unwrap();
    home.probe(ECHO, &[])
        .exits(125, &["reading the policy", "policy.toml"]);
    let doctor = home.axocoatl(&["doctor"]);
    assert_eq!(doctor.code(), Some(1), "{doctor}");
    assert!(doctor.out().contains("policy.toml"), "{doctor}");
}

#[test]
fn a_grant_the_policy_allows_is_given() {
    let home = Home::new();
    home.policy("[grants]\nenv = [\"CANARY\"]\n");
    let tool = crate::support::add_tool(&home.work(), "asking", "[grants]\nenv = [\"CANARY\"]\n");
    let mut command = home.command(&["run".as_ref(), tool.as_os_str()]);
    command.env("CANARY", "sings");
    let ended = crate::process::Running::start(command, br#"{"op":"env"}"#).end();
    assert_eq!(ended.succeeds_silently().json()["CANARY"], "sings");
}
