//! One blob: into `partial/<hex>`, which a pull that breaks leaves for the next, and when all of
//! it is there and has its digest, to `blobs/`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::blocking;
use super::client::Registry;
use super::failure::Failure;
use crate::digest::Hasher;
use crate::lock::{Hold, try_lock_path};
use crate::manifest::Descriptor;
use crate::store::Layout;
use crate::{ImageError, Progress, Step, Store, blobs, disk};

/// Pieces between the network and the disk, each of some ten kilobytes.
const QUEUE: usize = 32;

/// How often to look whether another process has finished the same blob.
const POLL: Duration = Duration::from_millis(100);

const DOING: &str = "fetching a layer";

/// What is there of a blob. Locked: nobody else writes to it.
struct Partial {
    file: File,
    path: PathBuf,
    hasher: Hasher,
}

/// Fetches a blob that is not here yet.
pub(super) async fn blob(
    store: &Store,
    registry: &Registry,
    descriptor: &Descriptor,
    progress: &dyn Progress,
) -> Result<(), ImageError> {
    let Some(mut partial) = acquire(store, descriptor).await? else {
        return Ok(());
    };
    let short = descriptor.digest.hex().get(..12).unwrap_or_default();
    let step = progress.begin(&format!("fetching {short}"), Some(descriptor.size));
    step.advance(partial.hasher.bytes());
    let mut tries = 0;
    let mut most = partial.hasher.bytes();
    let mut resumed = most > 0;
    loop {
        let (back, failure) = transfer(registry, descriptor, partial, &*step).await?;
        partial = back;
        match failure {
            None => {
                let actual = partial.hasher.clone().finish();
                if actual == descriptor.digest {
                    break;
                }
                partial = restart(partial).await?;
                // What was here already may be the reason. Once.
                if !std::mem::take(&mut resumed) {
                    discard(partial).await?;
                    return Err(mismatch(descriptor, actual.as_str()));
                }
            }
            Some(Failure::Range) if partial.hasher.bytes() > 0 && tries < registry.retries => {
                partial = restart(partial).await?;
                tries += 1;
            }
            Some(failure) if failure.passes() && tries < registry.retries => {
                registry.pause(tries, DOING, &failure).await;
                // One that gets further each time gets as many tries as it needs.
                tries = if partial.hasher.bytes() > most {
                    1
                } else {
                    tries + 1
                };
                most = most.max(partial.hasher.bytes());
                resumed = true;
            }
            Some(failure) => return Err(registry.failed(DOING, failure)),
        }
    }
    let (layout, digest) = (store.layout.clone(), descriptor.digest.clone());
    blocking(move || {
        partial
            .file
            .sync_all()
            .map_err(ImageError::io("writing", &partial.path))?;
        disk::rename(&partial.path, &layout.blob(&digest))
    })
    .await
}

fn mismatch(descriptor: &Descriptor, actual: &str) -> ImageError {
    ImageError::Digest {
        what: format!("layer {} from the registry", descriptor.digest),
        expected: descriptor.digest.to_string(),
        actual: actual.to_owned(),
        fix: "do not trust this registry, or what is between it and here; tell whoever runs it"
            .to_owned(),
    }
}

/// Waits until the blob is here, which is `None`, or is ours to fetch.
async fn acquire(store: &Store, descriptor: &Descriptor) -> Result<Option<Partial>, ImageError> {
    loop {
        let (layout, descriptor) = (store.layout.clone(), descriptor.clone());
        match blocking(move || look(&layout, &descriptor)).await? {
            Look::Here => return Ok(None),
            Look::Ours(partial) => return Ok(Some(partial)),
            Look::Others => sleep(POLL).await,
        }
    }
}

enum Look {
    Here,
    Ours(Partial),
    Others,
}

fn look(layout: &Layout, descriptor: &Descriptor) -> Result<Look, ImageError> {
    if blobs::has(layout, &descriptor.digest, descriptor.size) {
        return Ok(Look::Here);
    }
    let path = layout.partials().join(descriptor.digest.hex());
    let Some(mut file) =
        try_lock_path(&path, Hold::Exclusive).map_err(ImageError::io("locking", &path))?
    else {
        return Ok(Look::Others);
    };
    if blobs::has(layout, &descriptor.digest, descriptor.size) {
        // Finished between the two looks; what we locked is a new, empty file.
        disk::remove_file(&path)?;
        return Ok(Look::Here);
    }
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = file
            .read(&mut buffer)
            .map_err(ImageError::io("reading", &path))?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
    let partial = Partial { file, path, hasher };
    if partial.hasher.bytes() >= descriptor.size
        && partial.hasher.clone().finish() != descriptor.digest
    {
        return Ok(Look::Ours(emptied(partial)?));
    }
    Ok(Look::Ours(partial))
}

/// Begins from nothing.
fn emptied(mut partial: Partial) -> Result<Partial, ImageError> {
    partial
        .file
        .set_len(0)
        .and_then(|()| partial.file.seek(SeekFrom::Start(0)))
        .map_err(ImageError::io("emptying", &partial.path))?;
    partial.hasher = Hasher::default();
    Ok(partial)
}

async fn restart(partial: Partial) -> Result<Partial, ImageError> {
    blocking(move || emptied(partial)).await
}

async fn discard(partial: Partial) -> Result<(), ImageError> {
    blocking(move || disk::remove_file(&partial.path)).await
}

/// Fetches what is missing. What came before it failed is kept.
async fn transfer(
    registry: &Registry,
    descriptor: &Descriptor,
    mut partial: Partial,
    step: &dyn Step,
) -> Result<(Partial, Option<Failure>), ImageError> {
    let offset = partial.hasher.bytes();
    if offset == descriptor.size {
        return Ok((partial, None));
    }
    let mut body = match registry.blob(&descriptor.digest, offset).await {
        Err(failure) => return Ok((partial, Some(failure))),
        Ok(body) => body,
    };
    if offset > 0 && !body.resumed {
        partial = restart(partial).await?;
    }

    let mut left = descriptor.size - partial.hasher.bytes();
    let (sender, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || {
        let mut result = Ok(());
        while let Some(piece) = queue.blocking_recv() {
            result = partial.file.write_all(&piece);
            if result.is_err() {
                break;
            }
            partial.hasher.update(&piece);
        }
        (partial, result)
    });
    let failure = loop {
        if left == 0 {
            break None;
        }
        match body.next().await {
            Err(failure) => break Some(failure),
            Ok(None) => break Some(Failure::Passing(ended_early(left))),
            Ok(Some(piece)) => {
                let count = piece.len() as u64;
                if count > left {
                    break Some(Failure::Ours(too_long(descriptor)));
                }
                left -= count;
                step.advance(count);
                if sender.send(piece).await.is_err() {
                    // The writer failed, and says why.
                    break None;
                }
            }
        }
    };
    drop(sender);
    let (partial, written) = writer.await.map_err(ImageError::lost)?;
    written.map_err(ImageError::io("writing", &partial.path))?;
    if matches!(failure, Some(Failure::Ours(_))) {
        // Nothing of it can be used.
        let partial = restart(partial).await?;
        return Ok((partial, failure));
    }
    Ok((partial, failure))
}

fn ended_early(left: u64) -> crate::BoxError {
    format!("the connection ended {left} bytes too early").into()
}

fn too_long(descriptor: &Descriptor) -> ImageError {
    ImageError::Size {
        what: format!("layer {} from the registry", descriptor.digest),
        expected: descriptor.size,
        actual: descriptor.size + 1,
        fix: "it is longer than announced: do not trust this registry".to_owned(),
    }
}
