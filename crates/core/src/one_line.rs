//! Paths that others named, where they are shown.

use std::path::Path;

/// A path in one line, whatever whoever named it put in: one with a character that ends a line, or that a
/// terminal or a reader's eye takes for something else, is in quotes and escaped, as [`Path`]'s `Debug` has
/// it. So it cannot look like a line that says something else.
#[must_use]
pub fn one_line(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.chars().any(|c| c.is_control() || is_active(c)) {
        true => format!("{path:?}"),
        false => text.into_owned(),
    }
}

/// Whether a terminal would act on it, or it reorders, hides or joins text. Tabs and line ends do not.
#[must_use]
pub fn is_active(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // C0 with ESC and CR, DEL, and C1 with the one-character CSI.
        c if c.is_control() => true,
        // Marks that reorder, hide or join text (UAX #9; "Trojan Source").
        '\u{061c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => true,
        // Tag characters, invisible.
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_is_left_of_a_name() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            if is_active(c) || c.is_control() {
                let shown = one_line(Path::new(&format!("a{c}b")));
                let left = shown.chars().find(|c| c.is_control() || is_active(*c));
                assert_eq!(left, None, "{c:?}");
            }
        }
    }

    #[test]
    fn a_name_cannot_begin_a_line_of_its_own() {
        assert_eq!(
            one_line(Path::new("src/naïve 日本 \"x\"")),
            "src/naïve 日本 \"x\""
        );
        assert_eq!(one_line(Path::new("x\nD y")), r#""x\nD y""#);
        assert_eq!(one_line(Path::new("x\rD y\u{1b}")), r#""x\rD y\u{1b}""#);
    }
}
