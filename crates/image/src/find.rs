//! From what people write to an image.

use crate::digest::is_hex;
use crate::record::{Record, Records};
use crate::{Digest, Image, ImageError, Reference, Store};

/// Fewer digits of a digest than this are not taken for one.
const MIN_PREFIX: usize = 12;

/// The name of an image by its digest, whatever its tag.
pub(crate) fn pinned(reference: &Reference, digest: &Digest) -> String {
    format!("{}@{digest}", repository(reference))
}

/// Registry and name, without tag and digest.
pub(crate) fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

/// The name under which a pulled or imported image is kept.
pub(crate) fn kept_name(reference: &Reference, manifest: &Digest) -> String {
    match reference.tag() {
        Some(tag) => format!("{}:{tag}", repository(reference)),
        None => pinned(reference, manifest),
    }
}

/// The digest in a reference, where there is one.
pub(crate) fn digest_of(reference: &Reference) -> Result<Option<Digest>, ImageError> {
    reference
        .digest()
        .map(|text| {
            Digest::parse(text).map_err(|error| ImageError::BadReference {
                text: reference.to_string(),
                source: Some(error.into()),
            })
        })
        .transpose()
}

fn bad(text: &str, source: Option<crate::BoxError>) -> ImageError {
    ImageError::BadReference {
        text: text.chars().take(300).collect(),
        source,
    }
}

impl Record {
    fn is_known_as(&self, digest: &Digest) -> bool {
        self.manifest == *digest || self.indexes.contains(digest)
    }

    fn is_of(&self, repository: &str) -> bool {
        self.references.iter().any(|reference| {
            reference
                .strip_prefix(repository)
                .is_some_and(|rest| rest.starts_with([':', '@']))
        })
    }
}

/// The record that `text` names, and whether it was named by one of its references.
pub(crate) fn resolve<'a>(
    records: &'a [Record],
    text: &str,
) -> Result<(&'a Record, Option<String>), ImageError> {
    let missing = || ImageError::NotFound {
        reference: text.chars().take(300).collect(),
    };
    if text.starts_with("sha256:") {
        return by_prefix(records, text, text)?.ok_or_else(missing);
    }
    // As it is kept: reading a reference takes milliseconds the first time, for a large expression.
    if let Some(record) = records
        .iter()
        .find(|record| record.references.iter().any(|kept| kept == text))
    {
        return Ok((record, Some(text.to_owned())));
    }
    let looks_like_prefix = (MIN_PREFIX..=64).contains(&text.len()) && text.bytes().all(is_hex);
    match text.parse::<Reference>() {
        Ok(reference) => {
            if let Some(found) = by_reference(records, &reference)? {
                return Ok(found);
            }
        }
        Err(error) if !looks_like_prefix => return Err(bad(text, Some(error.into()))),
        Err(_) => {}
    }
    if looks_like_prefix {
        return by_prefix(records, &format!("sha256:{text}"), text)?.ok_or_else(missing);
    }
    Err(missing())
}

type Found<'a> = Option<(&'a Record, Option<String>)>;

fn by_reference<'a>(records: &'a [Record], reference: &Reference) -> Result<Found<'a>, ImageError> {
    let repository = repository(reference);
    if let Some(digest) = digest_of(reference)? {
        // The digest says which; a tag beside it says only what it was called once.
        return Ok(records
            .iter()
            .find(|record| record.is_known_as(&digest) && record.is_of(&repository))
            .map(|record| {
                let name = match reference.tag() {
                    Some(tag) => format!("{repository}:{tag}"),
                    None => format!("{repository}@{}", record.manifest),
                };
                (record, record.references.contains(&name).then_some(name))
            }));
    }
    let name = format!("{repository}:{}", reference.tag().unwrap_or("latest"));
    Ok(records
        .iter()
        .find(|record| record.references.contains(&name))
        .map(|record| (record, Some(name))))
}

fn by_prefix<'a>(records: &'a [Record], prefix: &str, text: &str) -> Result<Found<'a>, ImageError> {
    let hex = prefix.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() < MIN_PREFIX || hex.len() > 64 || !hex.bytes().all(is_hex) {
        return Err(bad(text, None));
    }
    let matches: Vec<&Record> = records
        .iter()
        .filter(|record| {
            record.manifest.as_str().starts_with(prefix)
                || record
                    .indexes
                    .iter()
                    .any(|index| index.as_str().starts_with(prefix))
        })
        .collect();
    match matches.as_slice() {
        [] => Ok(None),
        [record] => Ok(Some((record, None))),
        more => Err(ImageError::Ambiguous {
            reference: text.to_owned(),
            count: more.len(),
        }),
    }
}

impl Store {
    /// Finds an image by `name:tag`, `name:tag@sha256:…`, `name@sha256:…`, `sha256:…` or at least
    /// 12 digits that only one digest begins with. A digest, where given, must match: that of the
    /// manifest, or of the index that led to it.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`], [`ImageError::BadReference`], or the
    /// disk.
    pub fn find(&self, reference: &str) -> Result<Image, ImageError> {
        let records = Records::load(&self.layout.images())?.readable();
        let (record, _) = resolve(&records, reference)?;
        Image::load(&self.layout, record.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::StoredLayer;

    fn record(name: &str, references: &[&str]) -> Record {
        let digest = Digest::of(name.as_bytes());
        let layer = StoredLayer {
            digest: digest.clone(),
            diff_id: digest.clone(),
            size: 1,
        };
        let mut record = Record::new(digest.clone(), digest, vec![layer], 1);
        record.indexes = vec![Digest::of(format!("index of {name}").as_bytes())];
        record.references = references.iter().map(|r| (*r).to_owned()).collect();
        record
    }

    fn found(text: &str) -> Result<(String, bool), ImageError> {
        let records = [
            record("a", &["example.org/a:1", "example.org/a:2"]),
            record("b", &["example.org/b:1"]),
        ];
        resolve(&records, text).map(|(record, name)| (record.references[0].clone(), name.is_some()))
    }

    #[test]
    fn every_way_to_name_one() {
        let a = Digest::of(b"a");
        let index = Digest::of(b"index of a");
        for (text, by_name) in [
            ("example.org/a:2".to_owned(), true),
            (format!("example.org/a:1@{a}"), true),
            (format!("example.org/a:1@{index}"), true),
            (format!("example.org/a:moved@{a}"), false),
            (format!("example.org/a@{a}"), false),
            (a.to_string(), false),
            (index.to_string(), false),
            (a.hex()[..12].to_owned(), false),
            (a.hex().to_owned(), false),
        ] {
            assert_eq!(
                found(&text).unwrap(),
                ("example.org/a:1".to_owned(), by_name),
                "{text}"
            );
        }
    }

    #[test]
    fn what_does_not_match_is_not_found() {
        let a = Digest::of(b"a");
        for text in [
            "example.org/a:3".to_owned(),
            "example.org/a".to_owned(),
            format!("example.org/b:1@{a}"),
            format!("example.org/a:1@{}", Digest::of(b"b")),
            Digest::of(b"c").to_string(),
            "0123456789ab".to_owned(),
        ] {
            assert!(
                matches!(found(&text), Err(ImageError::NotFound { .. })),
                "{text}"
            );
        }
        for text in ["", "sha256:abc", "../../etc", "UPPER", "a b", "x:\n"] {
            assert!(
                matches!(found(text), Err(ImageError::BadReference { .. })),
                "{text:?}"
            );
        }
    }
}
