//! `tool ls`, `show` and `check`.

use serde_json::{Value, json};

use crate::support::{EXAMPLES, Home, PROBE, add_tool, entries, write};

#[test]
fn ls_shows_the_tools_of_project_and_user() {
    let home = Home::new();
    let one = add_tool(&home.project_tools(), "one", "[limits]\nwall = \"1s\"\n");
    add_tool(&home.user_tools(), "two", "");
    let table = home.axocoatl(&["tool", "ls"]).succeeds_silently();
    for word in ["one", "two", "project", "user", "1.2.3", "wasm"] {
        assert!(table.out().contains(word), "{word}\n{table}");
    }
    let tools = home
        .axocoatl(&["tool", "ls", "--json"])
        .succeeds_silently()
        .json();
    assert_eq!(
        tools["tools"][0],
        json!({"name": "one", "origin": "project", "directory": one, "version": "1.2.3",
               "description": null, "requires": "wasm", "error": null})
    );
    assert_eq!(tools["tools"][1]["name"], "two");
    assert_eq!(tools["tools"].as_array().unwrap().len(), 2);
}

#[test]
fn ls_shows_commands_that_the_policy_trusts() {
    let home = Home::new();
    home.policy("[native.du]\ncommand = [\"/usr/bin/du\"]\ndescription = \"disk usage\"\n");
    let tools = home.axocoatl(&["tool", "ls", "--json"]).succeeds().json();
    assert_eq!(tools["tools"][0]["name"], "du");
    assert_eq!(tools["tools"][0]["requires"], "native-trusted");
    assert_eq!(tools["tools"][0]["description"], "disk usage");
}

#[test]
fn ls_shows_a_broken_tool_with_its_error_beside_the_sound_ones() {
    let home = Home::new();
    add_tool(&home.user_tools(), "sound", "");
    add_tool(&home.user_tools(), "broken", "[limits]\nmemry = \"1MiB\"\n");
    std::fs::create_dir_all(home.user_tools().join("no-tool-at-all")).unwrap();
    let table = home.axocoatl(&["tool", "ls"]).exits(1, &[]);
    let row = |name: &str| {
        let found = table
            .out()
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        found
            .unwrap_or_else(|| panic!("{name}\n{table}"))
            .to_owned()
    };
    assert!(row("broken").contains("error: "), "{table}");
    assert!(!row("sound").contains("error"), "{table}");
    let tools = home
        .axocoatl(&["tool", "ls", "--json"])
        .exits(1, &[])
        .json();
    let tools = tools["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 2);
    assert!(tools[0]["error"].as_str().unwrap().contains("limits.memry"));
    assert_eq!(tools[1]["error"], Value::Null);
}

#[test]
fn show_tells_what_a_tool_is_and_where_it_would_run() {
    let home = Home::new();
    let tool = format!("{EXAMPLES}/word-count");
    let text = home.axocoatl(&["tool", "show", &tool]).succeeds_silently();
    for phrase in ["word-count", "256MiB", "30s", "candidate wasm: chosen"] {
        assert!(text.out().contains(phrase), "{phrase}\n{text}");
    }
    let shown = home
        .axocoatl(&["tool", "show", &tool, "--json"])
        .succeeds_silently()
        .json();
    assert_eq!(shown["name"], "word-count");
    assert_eq!(shown["limits"]["wall"], "30s");
    assert_eq!(shown["output"], "json");
    assert_eq!(shown["placement"]["tier"], "wasm");
    assert!(entries(&home.path()).is_empty(), "nothing is made");
}

#[test]
fn show_tells_why_a_tool_would_be_refused() {
    let home = Home::new();
    let tool = add_tool(
        &home.work(),
        "strong",
        "[isolation]\nmin_tier = \"microvm\"\n",
    );
    let shown = home.axocoatl(&["tool", "show", tool.to_str().unwrap()]);
    assert!(shown.out().contains("is refused: "), "{shown}");
    assert_eq!(shown.out().matches("refused").count(), 1, "{shown}");
    let shown = home
        .axocoatl(&["tool", "show", tool.to_str().unwrap(), "--json"])
        .json();
    assert_eq!(shown["placement"]["error"]["exit_code"], 126);
}

#[test]
fn check_of_a_good_tool_compiles_it_for_the_first_call() {
    let home = Home::new();
    for tool in ["slugify", "word-count"] {
        let tool = format!("{EXAMPLES}/{tool}");
        let checked = home
            .axocoatl(&["tool", "check", &tool, "--json"])
            .succeeds_silently()
            .json();
        assert_eq!(checked["ok"], true);
        assert_eq!(checked["placement"]["tier"], "wasm");
    }
    let compiled = entries(&home.cache());
    let compiled = compiled
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "cwasm"));
    assert_eq!(compiled.count(), 2);
    let text = home.axocoatl(&["tool", "check", PROBE]).succeeds_silently();
    assert!(text.out().contains("tool probe is good"), "{text}");
}

#[test]
fn check_says_what_is_wrong_with_the_code_the_run_would_have() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "checked", "");
    let tool_path = tool.to_str().unwrap();
    write(&tool.join("tool.wasm"), b"(module)");
    home.axocoatl(&["tool", "check", tool_path])
        .exits(125, &["no function `_start`"]);
    write(
        &tool.join("tool.wasm"),
        br#"(module (import "env" "x" (func)) (func (export "_start")))"#,
    );
    home.axocoatl(&["tool", "check", tool_path])
        .exits(126, &["env::x"]);
    write(
        &tool.join("tool.toml"),
        crate::support::manifest("checked", "[isolation]\nmin_tier = \"microvm\"\n").as_bytes(),
    );
    home.axocoatl(&["tool", "check", tool_path])
        .exits(126, &["no tier at or above microvm"]);
}
