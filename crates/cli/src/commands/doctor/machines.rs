//! What machines of tier `microvm` are made of.

use axocoatl_isolation::machines::{Artifacts, ArtifactsError, Vulnerability, vulnerabilities};
use axocoatl_isolation::{Engine, Places, Readiness, Tier};

use super::{Finding, State};

/// Whether it is installed, whole, and free of what is known to concern it, and this host can use it.
pub(super) fn examine(places: &Places, engine: &Engine) -> Finding {
    let verified = Artifacts::open(&places.data).and_then(|artifacts| {
        artifacts.verify()?;
        Ok(artifacts)
    });
    let state = match verified {
        Ok(artifacts) => of_host(of_versions(&artifacts), engine),
        Err(error @ ArtifactsError::NotSetUp { .. }) => {
            State::Missing(error.reason(), error.fix().into())
        }
        Err(error) => State::Wrong(error.reason(), error.fix().into()),
    };
    Finding {
        what: "machines".into(),
        state,
    }
}

/// What is good is of no use where no machine runs.
fn of_host(state: State, engine: &Engine) -> State {
    let mut tiers = engine.tiers().iter();
    let machines = tiers.find(|tier| tier.tier == Tier::MicroVm);
    match (state, machines.map(|tier| &tier.readiness)) {
        (State::Good(text), Some(Readiness::Unavailable { reason, fix })) => State::Missing(
            format!("{text}; no machine runs here: {reason}"),
            fix.clone(),
        ),
        (state, _) => state,
    }
}

/// What is known against the versions is wrong where it can be used against machines as they are made
/// here; where it cannot, it is told.
fn of_versions(artifacts: &Artifacts) -> State {
    let versions = &artifacts.versions;
    let text = format!(
        "firecracker {}, jailer {}, kernel {}",
        versions.firecracker.version, versions.jailer.version, versions.kernel.version
    );
    let known = vulnerabilities(versions);
    let (concerns, rest): (Vec<_>, Vec<_>) = known.into_iter().partition(|one| one.concerns);
    let told = |known: Vec<Vulnerability>| -> String {
        let messages = known.into_iter().map(|one| format!("; {}", one.message));
        messages.collect()
    };
    match concerns.is_empty() {
        true => State::Good(text + &told(rest)),
        false => State::Wrong(
            text + &told(concerns),
            "as root: axocoatl microvm setup --release VERSION --sha256 HEX, of a newer release; \
             the kernel stays"
                .into(),
        ),
    }
}
