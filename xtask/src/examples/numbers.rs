//! Numbers without visible order, the same on every run (a linear congruential generator with the
//! constants of Knuth's MMIX).

pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new() -> Self {
        Self(1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The high bits: the low ones repeat soon.
        (self.0 >> 33) % bound
    }
}
