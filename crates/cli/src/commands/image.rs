//! `axocoatl image`: the images of the store.

mod get;
mod look;
mod remove;

use axocoatl_isolation::images::{ImageError, Store};
use axocoatl_isolation::{BuildError, Places};

use super::{fail, fail_build};
use crate::args;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn run(command: args::Image, printer: &Printer) -> Exit {
    let result = match command {
        args::Image::Pull {
            reference,
            insecure_http,
        } => get::pull(&reference, insecure_http, printer).await,
        args::Image::Import { source, name } => get::import(&source, name.as_ref(), printer),
        args::Image::Ls => look::list(printer),
        args::Image::Show { reference } => look::show(&reference, printer),
        args::Image::Rm { references } => remove::images(&references, printer),
        args::Image::Gc { dry_run } => remove::garbage(dry_run, printer),
    };
    match result {
        Ok(exit) => exit,
        Err(Failed::Places(error)) => fail_build(printer, &error),
        Err(Failed::Image(error)) => fail(printer, &error, Exit::from(&error)),
    }
}

/// Why a verb did not do what it is for.
enum Failed {
    Places(BuildError),
    Image(ImageError),
}

impl From<ImageError> for Failed {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// The store, made if there is none.
fn store() -> Result<Store, Failed> {
    let places = Places::of_process().map_err(|e| Failed::Places(e.into()))?;
    Ok(Store::open(&places.images())?)
}

/// The store, if there is one: looking makes none.
fn existing_store() -> Result<Option<Store>, Failed> {
    let places = Places::of_process().map_err(|e| Failed::Places(e.into()))?;
    // A store that cannot be looked at is opened, which says why.
    match places.images().try_exists() {
        Ok(false) => Ok(None),
        _ => Ok(Some(Store::open(&places.images())?)),
    }
}

fn not_found(reference: &str) -> ImageError {
    ImageError::NotFound {
        reference: reference.chars().take(MAX_ECHO).collect(),
    }
}

/// Longest part of a name that an error repeats, in characters.
const MAX_ECHO: usize = 300;
