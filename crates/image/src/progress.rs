//! Telling how far we are.

/// Is told of every piece of work as it begins. Pieces run beside each other, several layers of a
/// pull for one, so each has a [`Step`] of its own.
pub trait Progress: Send + Sync {
    /// A piece of work begins: `what` for people, `total` in bytes where it is known.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Step + '_>;
}

/// One piece of work. Dropping it is its end, whether it succeeded or not.
pub trait Step: Send + Sync {
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);
}

/// Tells nobody.
#[derive(Clone, Copy, Default, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total: Option<u64>) -> Box<dyn Step + '_> {
        Box::new(Self)
    }
}

impl Step for Silent {
    fn advance(&self, _bytes: u64) {}
}
