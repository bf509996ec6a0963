//! Paths that others named, where they are shown.

use std::path::Path;

/// A path in one line, whatever whoever named it put in: one with a control character is in quotes and
/// escaped, as [`Path`]'s `Debug` has it. So it cannot look like a line that says something else.
#[must_use]
pub fn one_line(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.chars().any(char::is_control) {
        true => format!("{path:?}"),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
