//! `image pull` and `image import`: an image gets into the store.

use std::path::Path;

use axocoatl_isolation::images::{Image, InsecureHttp, PullOptions, Reference};
use indicatif::HumanBytes;

use super::{Failed, store};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;
use crate::progress::Bars;

pub(super) async fn pull(
    reference: &Reference,
    insecure_http: bool,
    printer: &Printer,
) -> Result<Exit, Failed> {
    let options = PullOptions {
        insecure_http: match insecure_http {
            true => InsecureHttp::Everywhere,
            false => InsecureHttp::Never,
        },
        ..PullOptions::default()
    };
    let image = store()?.pull(reference, &options, &Bars::new()).await?;
    Ok(show("pulled", &image, printer))
}

pub(super) fn import(
    source: &Path,
    name: Option<&Reference>,
    printer: &Printer,
) -> Result<Exit, Failed> {
    let image = store()?.import(source, name, &Bars::new())?;
    Ok(show("imported", &image, printer))
}

fn show(done: &str, image: &Image, printer: &Printer) -> Exit {
    printer.result(
        || convert::image(image),
        || {
            let name = match image.references.last() {
                Some(name) => format!("{name} "),
                None => String::new(),
            };
            format!("{done} {name}{} ({})", image.digest, HumanBytes(image.size))
        },
    );
    Exit::Success
}
