//! Pulling from registries.

mod access;
pub(crate) mod auth_file;
mod client;
mod download;
mod failure;
mod options;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::bounds::{MAX_CONFIG_BYTES, PARALLEL_DOWNLOADS};
use crate::find::{digest_of, kept_name};
use crate::manifest::{Descriptor, choose};
use crate::operation::Operation;
use crate::record::Record;
use crate::{
    Digest, Image, ImageError, Manifest, Progress, Reference, Store, blobs, parse_config,
    parse_manifest,
};
use client::Registry;
pub use options::{Auth, InsecureHttp, PullOptions};

pub(crate) async fn pull(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let registry = Registry::new(reference, options).await?;
    let work = fetch(store, &registry, reference, options, progress);
    match tokio::time::timeout(options.deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(registry.stalled("pulling the image", options.deadline)),
    }
}

async fn fetch(
    store: &Store,
    registry: &Registry,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    registry.log_in().await?;
    let shown = reference.to_string();
    let pinned = digest_of(reference)?;
    let which = match (&pinned, reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };

    let mut operation = {
        let store = store.clone();
        blocking(move || Operation::begin(&store.layout)).await?
    };
    let top = registry.manifest(&which, pinned.as_ref()).await?;
    let (manifest, index) = match parse_manifest(&top)? {
        Manifest::Image { .. } => (top, None),
        Manifest::Index(entries) => {
            let chosen = choose(&entries, &options.platform, &shown)?;
            let bytes = registry
                .manifest(chosen.digest.as_str(), Some(&chosen.digest))
                .await?;
            (bytes, Some(top))
        }
    };
    let Manifest::Image { config, layers } = parse_manifest(&manifest)? else {
        return Err(ImageError::malformed(
            &format!("index of {shown}"),
            "it leads to another index",
            "name the image by the digest of its manifest",
        ));
    };
    within_size(store, &shown, &layers)?;

    // From here on no garbage collection takes what is here, or comes.
    operation = {
        let store = store.clone();
        let digests: Vec<Digest> = layers
            .iter()
            .chain([&config])
            .map(|descriptor| descriptor.digest.clone())
            .collect();
        blocking(move || operation.hold(&store.layout, &digests).map(|()| operation)).await?
    };
    // First, so that an image for other machines costs nothing.
    download::blob(store, registry, &config, progress).await?;
    let size = manifest.len() as u64;
    let record = {
        let (store, config, layers) = (store.clone(), config.clone(), layers.clone());
        let (platform, digest) = (options.platform.clone(), Digest::of(&manifest));
        blocking(move || {
            let bytes = blobs::read(&store.layout, &config.digest, MAX_CONFIG_BYTES)?;
            let parsed = parse_config(&bytes)?;
            crate::import::make_record(&shown, &platform, (digest, size), &config, &layers, &parsed)
        })
        .await?
    };
    stream::iter(unique(&layers))
        .map(|layer| download::blob(store, registry, layer, progress))
        .buffer_unordered(PARALLEL_DOWNLOADS)
        .try_collect::<()>()
        .await?;

    let (store, reference) = (store.clone(), reference.clone());
    blocking(move || {
        commit(
            &store,
            &operation,
            record,
            &manifest,
            index.as_deref(),
            &reference,
        )
    })
    .await
}

fn commit(
    store: &Store,
    operation: &Operation,
    mut record: Record,
    manifest: &[u8],
    index: Option<&[u8]>,
    reference: &Reference,
) -> Result<Image, ImageError> {
    blobs::put(&store.layout, operation, manifest)?;
    if let Some(index) = index {
        record.indexes = vec![blobs::put(&store.layout, operation, index)?];
    }
    let name = kept_name(reference, &record.manifest);
    store.commit(operation, record, Some(name))
}

/// The same layer may be in an image twice.
fn unique(layers: &[Descriptor]) -> Vec<&Descriptor> {
    let mut seen = std::collections::HashSet::new();
    layers
        .iter()
        .filter(|layer| seen.insert(&layer.digest))
        .collect()
}

/// Compressed it is no larger than unpacked, so one limit serves for both.
fn within_size(store: &Store, image: &str, layers: &[Descriptor]) -> Result<(), ImageError> {
    let limit = store.options.max_unpacked_bytes;
    let total = layers
        .iter()
        .try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
    if total.is_some_and(|total| total <= limit) {
        return Ok(());
    }
    Err(ImageError::TooLarge {
        what: format!("image {image}"),
        limit,
        unit: "bytes",
        fix: "use a smaller image, or raise the store's limit".to_owned(),
    })
}

/// Does what waits for the disk where waiting is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(ImageError::lost)?
}
