//! The probe, packed for each tier. Its source is `probe/probe.c`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The probe as a WASI p1 module.
pub(crate) fn module() -> Arc<[u8]> {
    Arc::from(include_bytes!("../probe/probe.wasm").as_slice())
}

/// The probe as a WASI p2 component: the module with Wasmtime's own adapter around it.
pub(crate) fn component() -> Arc<[u8]> {
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
    let component = wit_component::ComponentEncoder::default()
        .module(&module())
        .and_then(|encoder| encoder.adapter("wasi_snapshot_preview1", adapter))
        .and_then(|mut encoder| encoder.encode())
        .expect("the probe is a module that the adapter fits");
    Arc::from(component)
}

/// The probe as a static program of this host, built in `directory`, or that which
/// `AXO_NATIVE_PROBE` names: a nested host need have no compiler.
#[expect(
    clippy::disallowed_methods,
    reason = "the native probe is compiled where it is tested"
)]
pub(crate) fn native(directory: &Path) -> PathBuf {
    let program = directory.join("probe");
    if let Some(built) = std::env::var_os("AXO_NATIVE_PROBE") {
        std::fs::copy(built, &program).expect("the probe that AXO_NATIVE_PROBE names");
        return program;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("probe/build.sh");
    let status = Command::new("sh")
        .arg(script)
        .arg("native")
        .arg(&program)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the native probe was not built: it needs a C compiler (apt-get install gcc)"
    );
    program
}

/// The native `program` in an OCI bundle, made in `directory`.
pub(crate) fn bundle(directory: &Path, program: &Path) -> PathBuf {
    let bundle = directory.join("bundle");
    let rootfs = bundle.join("rootfs");
    // What an image has that is mounted on, and what cases mount on.
    for name in ["proc", "sys", "dev", "tmp", "axocoatl", "data"] {
        std::fs::create_dir_all(rootfs.join(name)).expect("a root file system");
    }
    std::fs::copy(program, rootfs.join("probe")).expect("the probe in its place");
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 65534, "gid": 65534}, "cwd": "/", "args": ["/probe"]},
    });
    std::fs::write(bundle.join("config.json"), config.to_string()).expect("config.json");
    bundle
}
