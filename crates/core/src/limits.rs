//! Ceilings on what a call may use. Each is enforced by the tier, or the call is refused.

use std::fmt;
use std::time::Duration;

use crate::Size;

/// Which ceiling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum LimitKind {
    /// Elapsed time of the call.
    Wall,
    /// Share of processor time, in cores.
    Cpu,
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Open file descriptors.
    Files,
    /// Bytes the tool keeps in its scratch file systems (`/tmp`, `/axocoatl`).
    Disk,
    /// Bytes of each of standard output, standard error and the output file.
    Output,
    /// WebAssembly instructions.
    Fuel,
}

impl LimitKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Wall,
        Self::Cpu,
        Self::Memory,
        Self::Pids,
        Self::Files,
        Self::Disk,
        Self::Output,
        Self::Fuel,
    ];

    /// The limit's key in manifests and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Files => "files",
            Self::Disk => "disk",
            Self::Output => "output",
            Self::Fuel => "fuel",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A share of processor time in cores: `0.5` is half of one core, `2.0` is two whole ones.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct CpuShare(f64);

/// Why a number is not a limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LimitError {
    /// A share of processor time out of range.
    #[error(
        "cpu = {0} is not a share of processor time: write cores between 0.01 and 1024, for example 0.5"
    )]
    Cpu(f64),
    /// A count of zero.
    #[error("{0} = 0 lets no tool run: leave it out or raise it")]
    Zero(LimitKind),
}

impl CpuShare {
    /// One whole core.
    pub const ONE: Self = Self(1.0);
    /// Below this the scheduler's granularity makes a share meaningless.
    const LEAST: f64 = 0.01;
    /// More than any machine we know.
    const MOST: f64 = 1024.0;

    /// Checks that `cores` is between 0.01 and 1024.
    ///
    /// # Errors
    /// [`LimitError::Cpu`] if it is not, or not a number.
    pub fn from_cores(cores: f64) -> Result<Self, LimitError> {
        if (Self::LEAST..=Self::MOST).contains(&cores) {
            Ok(Self(cores))
        } else {
            Err(LimitError::Cpu(cores))
        }
    }

    /// The share in cores.
    #[must_use]
    pub const fn cores(self) -> f64 {
        self.0
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Limits as somebody wrote them: a manifest, an operator's ceilings, a caller. `None` says nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Limits {
    /// See [`LimitKind::Wall`].
    pub wall: Option<Duration>,
    /// See [`LimitKind::Cpu`].
    pub cpu: Option<CpuShare>,
    /// See [`LimitKind::Memory`].
    pub memory: Option<Size>,
    /// See [`LimitKind::Pids`].
    pub pids: Option<u32>,
    /// See [`LimitKind::Files`].
    pub files: Option<u32>,
    /// See [`LimitKind::Disk`].
    pub disk: Option<Size>,
    /// See [`LimitKind::Output`].
    pub output: Option<Size>,
    /// See [`LimitKind::Fuel`].
    pub fuel: Option<u64>,
}

impl Limits {
    /// These limits, with those of `over` in place of ours where it says something.
    #[must_use]
    pub fn overlaid_by(self, over: Self) -> Self {
        Self {
            wall: over.wall.or(self.wall),
            cpu: over.cpu.or(self.cpu),
            memory: over.memory.or(self.memory),
            pids: over.pids.or(self.pids),
            files: over.files.or(self.files),
            disk: over.disk.or(self.disk),
            output: over.output.or(self.output),
            fuel: over.fuel.or(self.fuel),
        }
    }

    /// Whether anything is said about `kind`.
    #[must_use]
    pub fn has(&self, kind: LimitKind) -> bool {
        match kind {
            LimitKind::Wall => self.wall.is_some(),
            LimitKind::Cpu => self.cpu.is_some(),
            LimitKind::Memory => self.memory.is_some(),
            LimitKind::Pids => self.pids.is_some(),
            LimitKind::Files => self.files.is_some(),
            LimitKind::Disk => self.disk.is_some(),
            LimitKind::Output => self.output.is_some(),
            LimitKind::Fuel => self.fuel.is_some(),
        }
    }

    /// The first of our limits that is above a ceiling, with what was asked and what is allowed.
    #[must_use]
    pub fn above(&self, ceilings: &Self) -> Option<(LimitKind, String, String)> {
        fn over<T: PartialOrd + Copy>(
            kind: LimitKind,
            asked: Option<T>,
            ceiling: Option<T>,
            show: impl Fn(T) -> String,
        ) -> Option<(LimitKind, String, String)> {
            match (asked, ceiling) {
                (Some(asked), Some(ceiling)) if asked > ceiling => {
                    Some((kind, show(asked), show(ceiling)))
                }
                _ => None,
            }
        }
        let duration = |d: Duration| humantime::format_duration(d).to_string();
        over(LimitKind::Wall, self.wall, ceilings.wall, duration)
            .or_else(|| over(LimitKind::Cpu, self.cpu, ceilings.cpu, |c| c.to_string()))
            .or_else(|| {
                over(LimitKind::Memory, self.memory, ceilings.memory, |s| {
                    s.to_string()
                })
            })
            .or_else(|| over(LimitKind::Pids, self.pids, ceilings.pids, |n| n.to_string()))
            .or_else(|| {
                over(LimitKind::Files, self.files, ceilings.files, |n| {
                    n.to_string()
                })
            })
            .or_else(|| over(LimitKind::Disk, self.disk, ceilings.disk, |s| s.to_string()))
            .or_else(|| {
                over(LimitKind::Output, self.output, ceilings.output, |s| {
                    s.to_string()
                })
            })
            .or_else(|| over(LimitKind::Fuel, self.fuel, ceilings.fuel, |n| n.to_string()))
    }
}

/// The limits a call runs under: what was asked, and defaults for the rest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EffectiveLimits {
    /// See [`LimitKind::Wall`]. Default 30 s.
    pub wall: Duration,
    /// See [`LimitKind::Cpu`]. Default one core.
    pub cpu: CpuShare,
    /// See [`LimitKind::Memory`]. Default 128 MiB.
    pub memory: Size,
    /// See [`LimitKind::Pids`]. Default 64.
    pub pids: u32,
    /// See [`LimitKind::Files`]. Default 256.
    pub files: u32,
    /// See [`LimitKind::Disk`]. Default 64 MiB.
    pub disk: Size,
    /// See [`LimitKind::Output`]. Default 1 MiB.
    pub output: Size,
    /// See [`LimitKind::Fuel`]. Default: not counted, the other limits bound the call.
    pub fuel: Option<u64>,
}

impl EffectiveLimits {
    /// What a call gets where neither its manifest nor its caller says anything.
    pub const DEFAULT: Self = Self {
        wall: Duration::from_secs(30),
        cpu: CpuShare::ONE,
        memory: Size::from_mib(128),
        pids: 64,
        files: 256,
        disk: Size::from_mib(64),
        output: Size::from_mib(1),
        fuel: None,
    };

    /// `asked` where it says something, else the default, lowered to the operator's ceiling.
    #[must_use]
    pub fn resolve(asked: &Limits, ceilings: &Limits) -> Self {
        fn pick<T: PartialOrd>(asked: Option<T>, default: T, ceiling: Option<T>) -> T {
            match (asked, ceiling) {
                (Some(asked), _) => asked,
                (None, Some(ceiling)) if ceiling < default => ceiling,
                (None, _) => default,
            }
        }
        let d = Self::DEFAULT;
        Self {
            wall: pick(asked.wall, d.wall, ceilings.wall),
            cpu: pick(asked.cpu, d.cpu, ceilings.cpu),
            memory: pick(asked.memory, d.memory, ceilings.memory),
            pids: pick(asked.pids, d.pids, ceilings.pids),
            files: pick(asked.files, d.files, ceilings.files),
            disk: pick(asked.disk, d.disk, ceilings.disk),
            output: pick(asked.output, d.output, ceilings.output),
            fuel: asked.fuel.or(ceilings.fuel),
        }
    }
}
