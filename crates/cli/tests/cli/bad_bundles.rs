//! Bundles that cannot be run, each for one reason: the message names the tool and the reason, at
//! once, and nothing is started.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::containers::{busybox, make_bundle, runtime_config};
use crate::support::{Home, entries, make_fifo, set_mode, write};

/// Longer than any refusal takes, even on a busy machine.
const PROMPT: Duration = Duration::from_secs(20);

/// Breaks a sound bundle with `break_it`: running, checking and JSON must say `phrase`.
#[track_caller]
fn refused(phrase: &str, break_it: impl FnOnce(&Path)) {
    let home = Home::new();
    let bundle = make_bundle(&home.work().join("bad"), &["cat"]);
    break_it(&bundle);
    for arguments in [
        &["run", "./bad", "--input", "1", "--json"][..],
        &["tool", "check", "./bad", "--json"],
    ] {
        let ended = home
            .start(arguments)
            .end_within(PROMPT)
            .exits(125, &["error: tool bad cannot be run: ", phrase]);
        let message = ended.json()["error"]["message"].clone();
        assert!(message.as_str().unwrap().contains(phrase), "{ended}");
    }
    // What cannot be run can still be looked at.
    home.start(&["tool", "show", "./bad"])
        .end_within(PROMPT)
        .succeeds();
    assert!(entries(&home.owners()).is_empty());
}

/// The same, with a change of its configuration.
#[track_caller]
fn refused_config(phrase: &str, change: impl FnOnce(&mut Value)) {
    refused(phrase, |bundle| {
        let mut config = runtime_config(&["cat"]);
        change(&mut config);
        write(&bundle.join("config.json"), config.to_string().as_bytes());
    });
}

fn remove(path: &Path) {
    match path.symlink_metadata().unwrap().is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

#[test]
fn config_json_is_missing() {
    refused("has no config.json", |bundle| {
        remove(&bundle.join("config.json"))
    });
}

#[test]
fn config_json_is_no_json() {
    refused("is not an OCI runtime configuration", |bundle| {
        write(&bundle.join("config.json"), b"{\"ociVersion\":");
    });
    refused("its config.json is", |bundle| {
        write(&bundle.join("config.json"), b"[]");
    });
    refused("is not an OCI runtime configuration", |bundle| {
        let deep = format!("{{\"ociVersion\":{}", "[".repeat(100_000));
        write(&bundle.join("config.json"), deep.as_bytes());
    });
}

#[test]
fn config_json_is_a_directory() {
    refused("config.json", |bundle| {
        remove(&bundle.join("config.json"));
        fs::create_dir(bundle.join("config.json")).unwrap();
    });
}

#[test]
fn config_json_is_a_fifo() {
    refused("not a regular file", |bundle| {
        remove(&bundle.join("config.json"));
        make_fifo(&bundle.join("config.json"));
    });
}

#[test]
fn config_json_is_a_link() {
    refused("config.json cannot be read", |bundle| {
        fs::rename(bundle.join("config.json"), bundle.join("other.json")).unwrap();
        symlink("other.json", bundle.join("config.json")).unwrap();
    });
}

#[test]
fn config_json_is_huge() {
    refused("more than 1048576 bytes", |bundle| {
        let file = fs::File::create(bundle.join("config.json")).unwrap();
        file.set_len(1 << 40).unwrap();
    });
}

#[test]
fn config_json_says_no_process_or_an_impossible_one() {
    refused_config("has no process", |config| {
        config.as_object_mut().unwrap().remove("process");
    });
    refused_config("process.args", |config| {
        config["process"]["args"] = json!([])
    });
    refused_config("working directory", |config| {
        config["process"]["cwd"] = json!("relative");
    });
    refused_config("working directory", |config| {
        config["process"]["cwd"] = json!("/bin/../..");
    });
    refused_config("user 100000:0", |config| {
        config["process"]["user"]["uid"] = json!(100_000);
    });
    refused_config("more than 1024 arguments or variables", |config| {
        config["process"]["args"] = json!(vec!["cat"; 2000]);
    });
}

#[test]
fn config_json_is_of_another_generation() {
    refused_config("version \"2.0.0\"", |config| {
        config["ociVersion"] = json!("2.0.0")
    });
}

#[test]
fn the_root_path_leads_out() {
    for path in ["..", "../..", "rootfs/../..", "/", "/etc"] {
        refused_config("leads out of the bundle", |config| {
            config["root"]["path"] = json!(path);
        });
    }
}

#[test]
fn the_root_is_missing_a_link_or_a_file() {
    refused("cannot be opened", |bundle| remove(&bundle.join("rootfs")));
    refused("no symbolic link on the way", |bundle| {
        fs::rename(bundle.join("rootfs"), bundle.join("other")).unwrap();
        symlink("other", bundle.join("rootfs")).unwrap();
    });
    refused("no symbolic link on the way", |bundle| {
        remove(&bundle.join("rootfs"));
        symlink("/", bundle.join("rootfs")).unwrap();
    });
    refused("must be a directory", |bundle| {
        remove(&bundle.join("rootfs"));
        write(&bundle.join("rootfs"), b"");
    });
}

#[test]
fn what_is_mounted_on_is_a_link_or_a_file() {
    for name in ["dev", "proc", "sys", "tmp", "axocoatl"] {
        refused(
            &format!("/{name} in its root file system is a symbolic link"),
            |bundle| {
                remove(&bundle.join("rootfs").join(name));
                symlink("/etc", bundle.join("rootfs").join(name)).unwrap();
            },
        );
        refused(
            &format!("/{name} in its root file system is not a directory"),
            |bundle| {
                remove(&bundle.join("rootfs").join(name));
                write(&bundle.join("rootfs").join(name), b"");
            },
        );
    }
}

#[test]
fn the_program_is_absent_or_none() {
    let program = |bundle: &Path, name: &str| {
        let config = runtime_config(&[name]);
        write(&bundle.join("config.json"), config.to_string().as_bytes());
    };
    let absent = "is not in its root file system";
    refused(absent, |bundle| program(bundle, "/bin/absent"));
    refused(absent, |bundle| program(bundle, "absent"));
    // The host has one.
    refused(absent, |bundle| program(bundle, "/usr/bin/env"));
    refused(absent, |bundle| {
        symlink("/usr/bin/env", bundle.join("rootfs/bin/out")).unwrap();
        program(bundle, "/bin/out");
    });
    refused("is not an executable file", |bundle| {
        program(bundle, "/bin")
    });
    refused("is not an executable file", |bundle| {
        write(&bundle.join("rootfs/bin/data"), b"data");
        set_mode(&bundle.join("rootfs/bin/data"), 0o644);
        program(bundle, "data");
    });
    refused("is not an executable file", |bundle| {
        make_fifo(&bundle.join("rootfs/bin/fifo"));
        set_mode(&bundle.join("rootfs/bin/fifo"), 0o755);
        program(bundle, "fifo");
    });
    refused("whose interpreter \"/usr/bin/python3\"", |bundle| {
        write(&bundle.join("rootfs/bin/script"), b"#!/usr/bin/python3\n");
        set_mode(&bundle.join("rootfs/bin/script"), 0o755);
        program(bundle, "script");
    });
    refused("is made for", |bundle| {
        let mut bytes = busybox();
        bytes[18] = if cfg!(target_arch = "x86_64") {
            183
        } else {
            62
        };
        write(&bundle.join("rootfs/bin/foreign"), &bytes);
        set_mode(&bundle.join("rootfs/bin/foreign"), 0o755);
        program(bundle, "foreign");
    });
}

/// The kernel finds these only when it is asked to execute them.
#[test]
fn the_program_is_one_that_the_kernel_refuses() {
    refused_at_start(|bundle| {
        write(
            &bundle.join("rootfs/bin/odd"),
            b"neither program nor script",
        );
    });
    refused_at_start(|bundle| {
        // A program whose loader is not there.
        let dynamic = fs::read("/usr/bin/env").unwrap();
        write(&bundle.join("rootfs/bin/odd"), &dynamic);
    });
}

#[track_caller]
fn refused_at_start(make: impl FnOnce(&Path)) {
    let home = Home::new();
    let bundle = make_bundle(&home.work().join("bad"), &["/bin/odd"]);
    make(&bundle);
    set_mode(&bundle.join("rootfs/bin/odd"), 0o755);
    home.axocoatl(&["run", "./bad", "--input", "1"])
        .exits(125, &["tool bad cannot be run", "/bin/odd"]);
}

#[test]
fn a_directory_without_anything_of_a_bundle_is_no_tool() {
    let home = Home::new();
    fs::create_dir(home.work().join("empty")).unwrap();
    home.axocoatl(&["run", "./empty", "--input", "1"])
        .exits(127, &["tool.toml", "check that it exists"]);
}
