//! Text from tools on a terminal: it must not be able to move the cursor, change the title, or
//! look like other text than it is.

use std::borrow::Cow;

use axocoatl_isolation::is_active;

/// Replaces what a terminal would act on, or what reorders text, by its escape in the form of a
/// Rust or JSON string. Tabs and line ends stay; a carriage return before a line end goes.
pub(crate) fn neutralise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\r' && rest.peek() == Some(&'\n') {
            continue;
        }
        if is_active(c) {
            plain.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What terminals have been attacked with.
    const CORPUS: [&str; 12] = [
        "\u{1b}[2J\u{1b}[H",
        "\u{1b}]0;title\u{7}",
        "\u{1b}]52;c;ZXZpbA==\u{7}",
        "\u{1b}]8;;http://evil\u{1b}\\text\u{1b}]8;;\u{1b}\\",
        "\u{1b}P$q\u{1b}\\",
        "\u{9b}31m",
        "\u{9d}0;title\u{9c}",
        "safe\rEVIL",
        "a\u{8}b",
        "\u{7f}",
        "if (\u{202e}a\u{2066}) {",
        "a\u{200b}b\u{feff}\u{e0041}",
    ];

    #[test]
    fn nothing_active_reaches_the_terminal() {
        for hostile in CORPUS {
            let shown = neutralise(hostile);
            assert!(!shown.chars().any(is_active), "{shown:?}");
            assert_ne!(shown, hostile);
        }
    }

    #[test]
    fn plain_text_of_any_script_stays_as_it_is() {
        for plain in [
            "",
            "plain\ttext\n",
            "naïve 日本語 עברית 👩",
            "{\"a\":\"\\u001b\"}",
        ] {
            assert!(matches!(neutralise(plain), Cow::Borrowed(text) if text == plain));
        }
        assert_eq!(neutralise("a\r\nb"), "a\nb");
    }
}
