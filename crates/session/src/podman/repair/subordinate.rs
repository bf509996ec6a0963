//! Subordinate ids: the ranges of `/etc/subuid` and `/etc/subgid` that an ordinary user's containers
//! have their users of.

use crate::podman::host::Host;

use super::step::Step;

/// Ids of a container: all that fit in 16 bits, as images expect.
pub(crate) const COUNT: u64 = 65_536;
/// Where ranges begin, as `SUB_UID_MIN` of `login.defs(5)` has it.
const FIRST: u64 = 100_000;
/// Where they end, as `SUB_UID_MAX` has it: ids above are given away by systemd and others.
const LAST: u64 = 600_100_000;

pub(crate) const FILES: [&str; 2] = ["etc/subuid", "etc/subgid"];

/// Podman keeps the namespace that it made with the ids of then, until this, which stops containers.
const NOTICE: &str = "if [ -n \"$(podman ps --quiet)\" ]; then echo 'containers are running: run podman \
                      system migrate when they may be stopped' >&2; exit 1; fi; exec podman system \
                      migrate";

/// A range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range<'a> {
    owner: &'a str,
    first: u64,
    count: u64,
}

fn ranges(text: &str) -> impl Iterator<Item = Range<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let range = Range {
            owner: fields.next()?,
            first: fields.next()?.parse().ok()?,
            count: fields.next()?.parse().ok()?,
        };
        (!range.owner.is_empty()).then_some(range)
    })
}

/// The files that give this user fewer ids than a container has, with how many they give.
pub(crate) fn lacking(host: &Host) -> Vec<(&'static str, u64)> {
    let (name, id) = (host.user_name(), host.uid().to_string());
    let own = |owner: &str| owner == id || name.as_deref() == Some(owner);
    FILES
        .into_iter()
        .filter_map(|file| {
            let text = host.read(file).unwrap_or_default();
            let count: u64 = ranges(&text)
                .filter(|range| own(range.owner))
                .fold(0, |sum, range| sum.saturating_add(range.count));
            (count < COUNT).then_some((file, count))
        })
        .collect()
}

/// Whether ids come from a directory service, which the files do not show.
pub(crate) fn are_elsewhere(host: &Host) -> bool {
    let settings = host.read("etc/nsswitch.conf").unwrap_or_default();
    settings.lines().any(|line| {
        let service = line.trim().strip_prefix("subid:");
        service.is_some_and(|service| service.trim() != "files")
    })
}

/// Gives this user a range that nobody has, in each file that lacks one.
pub(crate) fn steps(host: &Host) -> Vec<Step> {
    let Some(name) = host.user_name().filter(|_| !host.is_root()) else {
        return Vec::new();
    };
    let lacking = lacking(host);
    if lacking.is_empty() || are_elsewhere(host) {
        return Vec::new();
    }
    let texts = FILES.map(|file| host.read(file).unwrap_or_default());
    let Some(first) = free(texts.iter().flat_map(|text| ranges(text))) else {
        return Vec::new();
    };
    let range = format!("{first}-{}", first + COUNT - 1);
    let mut command = vec!["usermod".to_owned()];
    for (file, _) in lacking {
        let option = match file {
            "etc/subuid" => "--add-subuids",
            _ => "--add-subgids",
        };
        command.extend([option.to_owned(), range.clone()]);
    }
    command.push(name);
    let give = Step::new(
        command,
        "the users of this user's containers are of these ids",
    );
    let notice = ["sh", "-c", NOTICE].map(String::from).to_vec();
    let notice = Step::new(notice, "podman takes them up").that_may_fail();
    vec![give.by_root(host), notice]
}

/// The first range that overlaps no other.
fn free<'a>(taken: impl Iterator<Item = Range<'a>>) -> Option<u64> {
    let mut taken: Vec<(u64, u64)> = taken
        .map(|range| (range.first, range.first.saturating_add(range.count)))
        .collect();
    taken.sort_unstable();
    let mut first = FIRST;
    for (begin, end) in taken {
        if begin < first.saturating_add(COUNT) && end > first {
            first = end;
        }
    }
    (first.saturating_add(COUNT) <= LAST).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_nobody_has_is_found() {
        let free = |text: &str| free(ranges(text));
        assert_eq!(free(""), Some(100_000));
        assert_eq!(free("a:100000:65536\n"), Some(165_536));
        assert_eq!(free("b:165536:65536\na:100000:65536\n"), Some(231_072));
        assert_eq!(free("a:200000:65536\n"), Some(100_000));
        // Too narrow a gap.
        assert_eq!(free("a:120000:10\n"), Some(120_010));
        assert_eq!(free("a:100000:900000000\n"), None);
        assert_eq!(free("a:0:18446744073709551615\nnonsense\n::\n"), None);
    }
}
