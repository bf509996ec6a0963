use super::*;

fn tool(root: &Path, directory: &str, name: &str) {
    let path = root.join(directory);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(
        path.join(MANIFEST_FILE),
        format!("name = \"{name}\"\n[run]\nwasm = \"a.wasm\"\n"),
    )
    .unwrap();
}

fn roots(home: &Path) -> Vec<ToolRoot> {
    ["project", "user", "system"]
        .map(|label| ToolRoot {
            label,
            path: home.join(label),
        })
        .to_vec()
}

fn name(text: &str) -> ToolName {
    ToolName::parse(text).unwrap()
}

#[test]
fn a_tool_is_found_in_any_root_and_twice_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    tool(&home.path().join("user"), "a", "a");
    tool(&home.path().join("system"), "b", "b");
    tool(&home.path().join("project"), "c", "c");
    tool(&home.path().join("system"), "c", "c");
    let registry = Registry::new(roots(home.path()));
    assert_eq!(registry.find(&name("a")).unwrap().spec().name.as_str(), "a");
    assert!(registry.find(&name("b")).is_ok());
    assert!(
        matches!(registry.find(&name("c")), Err(FindError::Duplicate { places, .. }) if places.len() == 2)
    );
    assert!(matches!(
        registry.find(&name("d")),
        Err(FindError::NotFound { .. })
    ));
    let listed: Vec<_> = registry
        .list()
        .unwrap()
        .into_iter()
        .map(|l| (l.name, l.tool.is_ok()))
        .collect();
    let expected = [("a", true), ("b", true), ("c", false), ("c", false)];
    assert_eq!(listed, expected.map(|(name, ok)| (name.to_owned(), ok)));
}

#[test]
fn a_given_tool_and_a_directory_of_its_name_are_an_error() {
    let home = tempfile::tempdir().unwrap();
    tool(&home.path().join("user"), "a", "a");
    let mut registry = Registry::new(roots(home.path()));
    let given = || {
        ToolSpec::new(
            name("a"),
            axo_core::Requirement::NativeTrusted,
            axo_core::Run::Function,
        )
    };
    registry.give(given()).unwrap();
    assert!(matches!(
        registry.find(&name("a")),
        Err(FindError::Duplicate { .. })
    ));
    assert!(matches!(
        registry.give(given()),
        Err(FindError::Duplicate { .. })
    ));
}

#[test]
fn a_directory_under_another_name_is_an_error_and_stays_listed() {
    let home = tempfile::tempdir().unwrap();
    tool(&home.path().join("user"), "b", "a");
    tool(&home.path().join("user"), "Not A Name", "a");
    let registry = Registry::new(roots(home.path()));
    assert!(matches!(
        registry.find(&name("b")),
        Err(FindError::NameDiffers { .. })
    ));
    let listing = registry.list().unwrap();
    assert_eq!(listing.len(), 2);
    assert!(
        listing
            .iter()
            .all(|l| matches!(l.tool, Err(FindError::NameDiffers { .. })))
    );
}

#[test]
fn a_tool_stays_as_it_was_first_read() {
    let home = tempfile::tempdir().unwrap();
    tool(&home.path().join("user"), "a", "a");
    let registry = Registry::new(roots(home.path()));
    let first = registry.find(&name("a")).unwrap();
    std::fs::remove_dir_all(home.path().join("user")).unwrap();
    assert!(Arc::ptr_eq(&first, &registry.find(&name("a")).unwrap()));
}

#[test]
fn what_cannot_be_read_is_an_error_not_an_absence() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("user/a");
    std::fs::create_dir_all(path.join(MANIFEST_FILE)).unwrap();
    let registry = Registry::new(roots(home.path()));
    assert!(matches!(
        registry.find(&name("a")),
        Err(FindError::Unreadable { .. })
    ));
}
