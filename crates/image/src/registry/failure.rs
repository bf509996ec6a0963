//! Why requests fail, and which of them are worth another try.

use std::error::Error;
use std::io;

use oci_client::errors::OciDistributionError;
use rustls::InvalidMessage;

use crate::error::quoting;
use crate::{BoxError, ImageError};

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may work the next time.
    Passing(BoxError),
    /// Nothing came.
    Stalled,
    /// It will not work.
    Final(BoxError),
    /// Not with these credentials.
    Refused,
    /// There is none.
    Missing,
    /// The part of the blob that was asked for does not exist.
    Range,
    /// It does not speak TLS, and we are not allowed to speak without.
    Plain,
    /// It leads from TLS to somewhere without.
    Downgrade,
    /// Already told.
    Ours(ImageError),
}

impl Failure {
    pub(super) const fn passes(&self) -> bool {
        matches!(self, Self::Passing(_) | Self::Stalled)
    }
}

/// No answer, or none that is HTTP.
pub(super) fn of_transport(error: reqwest::Error) -> Failure {
    if is_no_tls(&error) {
        return Failure::Plain;
    }
    if is_refused_redirect(&error) {
        return Failure::Downgrade;
    }
    // A URL may hold a signature, so none is passed on.
    Failure::Passing(error.without_url().into())
}

pub(super) fn by_status(code: u16) -> Failure {
    let error = format!("it answered with status {code}").into();
    match code {
        401 | 403 => Failure::Refused,
        404 => Failure::Missing,
        416 => Failure::Range,
        408 | 429 | 500..=599 => Failure::Passing(error),
        _ => Failure::Final(error),
    }
}

pub(super) fn classify(error: OciDistributionError) -> Failure {
    match error {
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => Failure::Refused,
        OciDistributionError::RequestError(error) => of_transport(error),
        OciDistributionError::ServerError { code, .. } => by_status(code),
        other => Failure::Final(quoting(other)),
    }
}

/// Whether what should have been the first record of TLS was something else: servers without it
/// answer "400 Bad Request".
fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    const NO_TLS: rustls::Error = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref() == Some(&NO_TLS) {
            return true;
        }
        next = match error.downcast_ref::<io::Error>() {
            // Its source is that of what it holds.
            Some(error) => error.get_ref().map(|error| error as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}

/// Whether a redirection was not followed because it left TLS: the only one whose cause is an error
/// of the client itself.
fn is_refused_redirect(error: &reqwest::Error) -> bool {
    let cause = error.source().and_then(<dyn Error>::downcast_ref);
    error.is_redirect() && cause.is_some_and(reqwest::Error::is_builder)
}
