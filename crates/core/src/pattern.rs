//! Patterns with `*`.

/// Whether `text` fits `pattern`, in which each `*` stands for any characters, or none.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_covers_what_it_says_and_no_more() {
        for (pattern, text, covers) in [
            (
                "registry.example/tools/*",
                "registry.example/tools/a:1",
                true,
            ),
            (
                "registry.example/tools/*",
                "registry.example/other:1",
                false,
            ),
            (
                "registry.example/tools/*",
                "evil/registry.example/tools/a",
                false,
            ),
            ("*/a:*", "x/a:1", true),
            ("a", "ab", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "ac", false),
            ("*", "anything", true),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), covers, "{pattern} {text}");
        }
    }
}
