//! What machines of tier `microvm` are made of.

use axocoatl_isolation::Places;
use axocoatl_isolation::machines::{Artifacts, ArtifactsError, vulnerabilities};

use super::{Finding, State};
use crate::convert;

/// Whether it is installed, whole, and free of what is known.
pub(super) fn examine(places: &Places) -> Finding {
    let verified = Artifacts::open(&places.data).and_then(|artifacts| {
        artifacts.verify()?;
        Ok(artifacts)
    });
    let state = match verified {
        Ok(artifacts) => of_versions(&artifacts),
        Err(error @ ArtifactsError::NotSetUp { .. }) => State::Missing(
            convert::chain(&error),
            "as root, axocoatl microvm setup (see its --help)".into(),
        ),
        Err(error) => State::Wrong(
            convert::chain(&error),
            "as root, axocoatl microvm setup (see its --help)".into(),
        ),
    };
    Finding {
        what: "machines".into(),
        state,
    }
}

fn of_versions(artifacts: &Artifacts) -> State {
    let versions = &artifacts.versions;
    let text = format!(
        "firecracker {}, jailer {}, kernel {}",
        versions.firecracker.version, versions.jailer.version, versions.kernel.version
    );
    let known = vulnerabilities(versions);
    match known.is_empty() {
        true => State::Good(text),
        false => {
            let messages: Vec<_> = known.into_iter().map(|one| one.message).collect();
            State::Wrong(
                format!("{text}: {}", messages.join("; ")),
                "axocoatl microvm setup with a newer release".into(),
            )
        }
    }
}
