//! What other programs wrote, made fit to be shown: short, and without power over a terminal.

use std::fmt::Write as _;

/// Most that is kept of a program's messages, in bytes: the last few lines, where errors stand.
const MAX_BYTES: usize = 1024;

/// The end of what a program wrote to its standard error, on one line. Where it names errors as
/// such, only those are kept. Control characters, and marks that reorder or hide text, become
/// escapes in the form of a Rust string.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut kept: Vec<&str> = lines().filter(|line| is_error(line)).collect();
    if kept.is_empty() {
        kept = lines().collect();
    }
    let mut shown = String::new();
    for (index, line) in kept.iter().enumerate() {
        if index > 0 {
            shown.push_str("; ");
        }
        neutralise_into(&mut shown, line);
    }
    cut_front(shown)
}

/// How podman, runc and conmon begin a line that names an error.
fn is_error(line: &str) -> bool {
    line.starts_with("Error:") || line.contains("level=error")
}

fn neutralise_into(shown: &mut String, line: &str) {
    for c in line.chars() {
        if is_active(c) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
}

/// What a terminal acts on (C0, DEL, C1), and what reorders, joins or hides text (UAX #9).
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The last [`MAX_BYTES`] of a text.
fn cut_front(text: String) -> String {
    let Some(mut start) = text.len().checked_sub(MAX_BYTES) else {
        return text;
    };
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("…{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing() {
        for hostile in [
            "\u{1b}[2J\u{1b}[H",
            "\u{1b}]52;c;ZXZpbA==\u{7}",
            "\u{9b}31m",
            "safe\rEVIL",
            "a\u{8}b\u{7f}",
            "if (\u{202e}a\u{2066}) {",
            "a\u{200b}b\u{feff}\u{e0041}",
        ] {
            let shown = excerpt(hostile.as_bytes());
            assert!(!shown.chars().any(is_active), "{shown:?}");
        }
        assert_eq!(excerpt(b"\xff\x1b[m"), "\u{fffd}\\u{1b}[m");
    }

    #[test]
    fn the_error_is_kept_and_the_noise_is_not() {
        let shown = excerpt(
            b"time=\"x\" level=warning msg=\"\\\"/\\\" is not a shared mount\"\n\nError: no such thing\n",
        );
        assert_eq!(shown, "Error: no such thing");
        assert_eq!(excerpt(b"one\ntwo\n"), "one; two");
        assert_eq!(excerpt(b""), "");
    }

    #[test]
    fn a_flood_is_cut_at_a_whole_character() {
        let shown = excerpt("é".repeat(4000).as_bytes());
        assert!(shown.len() <= MAX_BYTES + "…".len() + 1);
        assert!(shown.ends_with('é'));
    }
}
