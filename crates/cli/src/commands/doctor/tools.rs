//! Tools that cannot be used.

use axocoatl_isolation::{Engine, Listing};

use super::{Finding, State};
use crate::convert;

/// Every tool that cannot be used; one finding if all can.
pub(super) fn examine(engine: &Engine) -> Vec<Finding> {
    let all = |state| Finding {
        what: "tools".into(),
        state,
    };
    let listings = match engine.registry().list() {
        Ok(listings) => listings,
        Err(error) => {
            let fix = "make the directory readable".into();
            return vec![all(State::Wrong(convert::chain(&error), fix))];
        }
    };
    let broken: Vec<_> = listings.iter().filter_map(broken_tool).collect();
    if broken.is_empty() {
        return vec![all(State::Good(format!(
            "{}, all readable",
            listings.len()
        )))];
    }
    broken
}

fn broken_tool(listing: &Listing) -> Option<Finding> {
    let error = listing.tool.as_ref().err()?;
    let fix = match &listing.directory {
        Some(directory) => format!("correct or remove {}", directory.display()),
        None => "correct or remove it in the policy".into(),
    };
    Some(Finding {
        what: format!("tool {}", listing.name),
        state: State::Wrong(convert::chain(error), fix),
    })
}
