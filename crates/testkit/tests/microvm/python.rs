//! Real input: the example tool in Python, over a table of 100,000 rows.

use std::path::Path;

use axo_core::chain;
use axocoatl_isolation::images::{Reference, Silent, Store};
use axocoatl_isolation::{
    AuditLog, Compiler, Engine, Places, Policy, Run, Tier, ToolCall, ToolName, machines,
};
use serde_json::json;

use crate::common::csv::{NAME, same_numbers, table};
use crate::common::{answer, block_on};

/// The root file system of a Debian with Python.
const PYTHON: &str = "AXO_PYTHON";
/// The example tool's directory, which need not be seen where it was compiled.
const TOOL: &str = "AXO_CSV_TOOL";

/// An engine over `home`, and the example tool, on this tier and no other.
fn engine(home: &Path) -> (Engine, ToolName) {
    let machines = std::env::var_os("AXO_MACHINES").expect("AXO_MACHINES names a data directory");
    let builder = || {
        Engine::builder()
            .places(Places::under(home))
            .machines(machines.clone().into())
            .policy(Policy::default())
            .tool_roots(Vec::new())
            .audit(AuditLog::off())
            .compiler(Compiler::InProcess)
    };
    let directory = std::env::var_os(TOOL).expect("AXO_CSV_TOOL names the example tool");
    let directory = Path::new(&directory).canonicalize().unwrap();
    let (as_is, name) = builder().tool_directory(&directory).unwrap();
    let as_is = as_is.build().unwrap();
    let mut spec = (**as_is.registry().find(&name).unwrap().spec()).clone();
    assert!(matches!(spec.run, Run::Image { .. }), "{:?}", spec.run);
    spec.min_tier = Some(Tier::MicroVm);
    (builder().tool(spec).build().unwrap(), name)
}

/// The image and the tool are those of tier oci, unchanged.
#[test]
fn the_python_tool_reads_100_000_rows_in_a_machine_that_boots_and_in_a_stored_one() {
    let home = tempfile::tempdir().unwrap();
    let root = std::env::var_os(PYTHON).expect("AXO_PYTHON names a root file system");
    let image: Reference = NAME.parse().unwrap();
    let store = Store::open(&Places::under(home.path()).images()).unwrap();
    store
        .import(Path::new(&root), Some(&image), &Silent)
        .unwrap();
    let (engine, name) = engine(home.path());
    let (csv, expected) = table();
    let statistics = async || {
        let call = ToolCall::new(name.clone(), json!({"csv": csv}));
        let outcome = engine.call(call).await;
        if let Ok(outcome) = &outcome {
            println!("wall {:?}, {:?}", outcome.usage.wall, outcome.tier);
        }
        same_numbers(&answer(outcome), &expected);
    };
    let is_stored = || {
        let all = machines::kept(&Places::under(home.path()).data).unwrap();
        let mut kept = all.iter();
        kept.any(|files| files.what == "snapshots" && files.count == 1)
    };
    block_on(async {
        statistics().await;
        assert!(!is_stored(), "the first boots");
        if let Err(error) = engine.check(&name).await {
            panic!("{}", chain(&error));
        }
        assert!(is_stored());
        statistics().await;
        // It is what the call began with: one that is of no use is removed.
        assert!(is_stored());
    });
}
