//! A program that runs tools: one of a directory, and a function of its own.
//!
//! ```console
//! $ cargo run --release -p axocoatl-isolation --example call -- examples/tools/word-count '{"text": "to be"}'
//! ```
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use axocoatl_isolation::{
    CallError, CallOptions, Engine, Limits, ToolCall, ToolName, serve_compiler_if_asked,
};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    // First: WebAssembly is compiled in a limited process, which is this program started again.
    serve_compiler_if_asked();
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(input)) = (arguments.next(), arguments.next()) else {
        return Err("write: call DIRECTORY INPUT".into());
    };
    tokio::runtime::Runtime::new()?.block_on(run(Path::new(&directory), &input))
}

async fn run(directory: &Path, input: &str) -> Result<(), Box<dyn Error>> {
    let greet = ToolName::parse("greet")?;
    let (builder, tool) = Engine::builder()
        // Tier `none`: that this program registers it is what makes it trusted.
        .function(greet.clone(), |input: Value| async move {
            let name = input["name"].as_str().ok_or("there is no name")?;
            Ok(json!({ "greeting": format!("hello {name}") }))
        })
        .tool_directory(directory)?;
    let engine = builder.build()?;

    // Why it runs where it runs, before it does.
    println!("{}", engine.explain(&tool)?);

    // Tighter than its manifest for this call alone.
    let options = CallOptions {
        limits: Limits {
            wall: Some(Duration::from_secs(5)),
            ..Limits::default()
        },
        ..CallOptions::default()
    };
    let input: Value = serde_json::from_str(input)?;
    let call = ToolCall::new(tool, input).with_options(options);
    match engine.call(call).await {
        // Whatever the tool did is an outcome: it may have failed, or been stopped at a limit.
        Ok(outcome) => {
            println!("on {}: it {}", outcome.tier, outcome.termination);
            match outcome.document() {
                Some(output) => println!("output {}", output.text()),
                None => println!(
                    "no output; it says {:?}",
                    String::from_utf8_lossy(&outcome.stderr)
                ),
            }
        }
        // It was not run, because of what was asked: the caller can mend that.
        Err(error @ (CallError::Input(_) | CallError::Denied(_))) => {
            println!("refused: {}", axocoatl_isolation::chain(&error));
        }
        // It, or this host, is at fault.
        Err(error) => return Err(error.into()),
    }

    let greeting = engine
        .call(ToolCall::new(greet, json!({ "name": "Ada" })))
        .await?;
    let said = greeting.document().map(|document| document.value());
    println!("on {}: {}", greeting.tier, said.unwrap_or(&Value::Null));
    Ok(())
}
