//! A `[limits]` or `[ceilings]` table as it stands in a file.

use serde::Deserialize;
use toml::Spanned;

use super::at;
use crate::located::Source;
use crate::{CpuShare, LimitError, LimitKind, Limits, LocatedError, Size, parse_duration};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    wall: Option<Spanned<String>>,
    cpu: Option<Spanned<f64>>,
    memory: Option<Spanned<String>>,
    pids: Option<Spanned<u32>>,
    files: Option<Spanned<u32>>,
    disk: Option<Spanned<String>>,
    output: Option<Spanned<String>>,
    fuel: Option<Spanned<u64>>,
}

impl RawLimits {
    pub(crate) fn check(&self, source: Source<'_>) -> Result<Limits, LocatedError> {
        let size = |text: &Option<Spanned<String>>| {
            text.as_ref()
                .map(|text| at(source, text, Size::parse))
                .transpose()
        };
        Ok(Limits {
            wall: self
                .wall
                .as_ref()
                .map(|text| at(source, text, parse_duration))
                .transpose()?,
            cpu: self
                .cpu
                .as_ref()
                .map(|cores| {
                    CpuShare::from_cores(*cores.get_ref())
                        .map_err(|e| source.error(&cores.span(), e.to_string()))
                })
                .transpose()?,
            memory: size(&self.memory)?,
            pids: count(source, LimitKind::Pids, self.pids.as_ref())?,
            files: count(source, LimitKind::Files, self.files.as_ref())?,
            disk: size(&self.disk)?,
            output: size(&self.output)?,
            fuel: count(source, LimitKind::Fuel, self.fuel.as_ref())?,
        })
    }
}

fn count<T: Copy + Default + PartialEq>(
    source: Source<'_>,
    kind: LimitKind,
    number: Option<&Spanned<T>>,
) -> Result<Option<T>, LocatedError> {
    match number {
        Some(number) if *number.get_ref() == T::default() => {
            Err(source.error(&number.span(), LimitError::Zero(kind).to_string()))
        }
        number => Ok(number.map(|number| *number.get_ref())),
    }
}
