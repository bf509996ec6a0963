//! Code of a tool: what it is by its first bytes, how large it may be, and its digest.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Largest module, component or text, in bytes. Python with its libraries takes 20 to 40 MiB.
pub(crate) const MAX_CODE_BYTES: usize = 96 << 20;

/// What a tool's code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CodeKind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// First bytes of a binary module: magic, version 1, layer 0. From the core specification, §5.5.16.
const MODULE_PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";
/// First bytes of a binary component: magic, version 13, layer 1. From the component model's Binary.md.
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

impl CodeKind {
    /// Tells a module from a component by `code`'s first bytes, or for text by its first form.
    ///
    /// # Errors
    /// A sentence saying what `code` is instead.
    pub(crate) fn detect(code: &[u8]) -> Result<Self, String> {
        if code.starts_with(MODULE_PREAMBLE) {
            return Ok(Self::Module);
        }
        if code.starts_with(COMPONENT_PREAMBLE) {
            return Ok(Self::Component);
        }
        if code.starts_with(b"\0asm") {
            return Err(
                "it is WebAssembly of a version or layer that this build does not know".into(),
            );
        }
        let text = std::str::from_utf8(code)
            .map_err(|_| "it is neither WebAssembly nor its text format".to_owned())?;
        match first_keyword(text) {
            Some("module") => Ok(Self::Module),
            Some("component") => Ok(Self::Component),
            _ => Err(
                "it is neither WebAssembly nor its text format (module …) or (component …)".into(),
            ),
        }
    }
}

/// The keyword of the first parenthesised form, past white space, annotations and comments.
fn first_keyword(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start();
        if text.starts_with(";;") {
            text = text.split_once('\n')?.1;
        } else if text.starts_with("(;") {
            text = after_block_comment(text)?;
        } else {
            break;
        }
    }
    let form = text.strip_prefix('(')?.trim_start();
    let end = form
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(form.len());
    Some(&form[..end])
}

/// The text after the block comment it starts with; block comments nest.
fn after_block_comment(text: &str) -> Option<&str> {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"(;") => (depth, at) = (depth + 1, at + 2),
            Some(b";)") => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return text.get(at..);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// The digest of a tool's code, as it is recorded: `sha256:<64 hex digits>`.
pub(crate) fn digest(code: &[u8]) -> Arc<str> {
    Arc::from(format!("sha256:{}", hex(&Sha256::digest(code))))
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_apart_by_its_first_bytes() {
        let module = wat::parse_str("(module)").unwrap();
        let component = wat::parse_str("(component)").unwrap();
        assert_eq!(CodeKind::detect(&module), Ok(CodeKind::Module));
        assert_eq!(CodeKind::detect(&component), Ok(CodeKind::Component));
        for text in ["(module)", " \n;; c\n(; a (; b ;) ;)( module $x)"] {
            assert_eq!(
                CodeKind::detect(text.as_bytes()),
                Ok(CodeKind::Module),
                "{text}"
            );
        }
        assert_eq!(
            CodeKind::detect(b"(component (core module))"),
            Ok(CodeKind::Component)
        );
        for bad in [
            &b""[..],
            b"\0asm",
            b"\0asm\x02\0\0\0",
            b"\x7fELF",
            b"#!/bin/sh",
            b"(;",
            b"(; (; ;)",
            b";;",
            b"(",
        ] {
            assert!(CodeKind::detect(bad).is_err(), "{bad:?}");
        }
    }
}
