use super::*;
use serde_json::json;

fn package(name: &str, links: Option<&str>) -> Value {
    json!({ "id": name, "name": name, "version": "1.0.0", "source": null, "links": links })
}

fn node(id: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
    let deps: Vec<Value> = dependencies
        .iter()
        .map(|(id, kind)| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] }))
        .collect();
    json!({ "id": id, "deps": deps })
}

#[test]
fn what_is_linked_is_found_through_others_and_not_through_tests() {
    let metadata = json!({
        "packages": [
            package("axocoatl", None),
            package("http", None),
            package("openssl-sys", Some("openssl")),
            package("zstd", Some("zstd")),
            package("fuse-sys", None),
            package("linux-raw-sys", None),
            package("unused-sys", Some("unused")),
        ],
        "resolve": { "nodes": [
            node("axocoatl", &[("http", None), ("fuse-sys", Some("build")), ("zstd", Some("dev"))]),
            node("http", &[("openssl-sys", None), ("linux-raw-sys", None)]),
            node("openssl-sys", &[]),
            node("zstd", &[]),
            node("fuse-sys", &[]),
            node("linux-raw-sys", &[]),
            node("unused-sys", &[]),
        ] },
    });
    let (count, offenders) = offenders(&metadata).unwrap();
    assert_eq!(count, 5);
    assert_eq!(
        offenders,
        [
            "fuse-sys 1.0.0 (links: not said)",
            "openssl-sys 1.0.0 (links: openssl)"
        ]
    );
}
