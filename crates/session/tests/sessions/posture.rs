//! What a session's processes are, and what they cannot do.

use axo_session::{Profile, State};

use crate::site::{fails, looked_at, says, site};

/// The value of a line of `/proc/self/status`.
fn value<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}")).trim()
}

#[tokio::test]
async fn a_locked_session_has_nothing_of_the_host() {
    let site = site();
    let sessions = site.sessions();
    let session = site
        .create(&sessions, |s| {
            s.environment.insert("GIVEN".into(), "to it".into());
        })
        .await
        .unwrap();

    let status = says(&session, "cat /proc/self/status").await;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(value(&status, "NoNewPrivs"), "1");
    assert_eq!(value(&status, "Seccomp"), "2");
    let agent = says(&session, "cat /proc/1/status").await;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(value(&agent, set), "0000000000000000", "{set} of the agent");
    }
    assert_eq!(value(&agent, "Seccomp"), "2");

    let descriptors = says(&session, "ls /proc/$$/fd; true").await;
    assert_eq!(descriptors, "0\n1\n2\n");
    let agent = says(&session, "tr '\\0' ' ' < /proc/1/cmdline").await;
    assert!(agent.starts_with("/axocoatl/agent serve "), "{agent}");
    let interfaces = says(&session, "ls /sys/class/net").await;
    assert_eq!(interfaces, "lo\n");
    let routes = says(&session, "tail -n +2 /proc/net/route").await;
    assert_eq!(routes, "");

    let environment = says(&session, "env").await;
    assert!(environment.contains("GIVEN=to it\n"), "{environment}");
    // What is set for us, and for a container by itself: its environment is not ours.
    const OF_A_CONTAINER: [&str; 6] = ["HOME", "HOSTNAME", "PATH", "PWD", "SHLVL", "TERM"];
    let ours: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| !OF_A_CONTAINER.contains(&name.as_str()))
        .collect();
    assert!(!ours.is_empty(), "nothing is set for us");
    for name in ours {
        let set = format!("{name}=");
        let leaked = environment.lines().any(|line| line.starts_with(&set));
        assert!(!leaked, "{name} in {environment}");
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_ne!(says(&session, "hostname").await, host);
}

#[tokio::test]
async fn a_locked_session_cannot_change_what_it_is() {
    let site = site();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    for command in [
        "touch /file",
        "touch /bin/file",
        "rm /bin/busybox",
        "echo > /axocoatl/agent",
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /",
        "umount /tmp",
        "unshare -U true",
        "unshare -m true",
        "unshare -n true",
        "nsenter -t 1 -m true",
        "chroot /tmp /bin/true",
        "mknod /tmp/device b 1 1",
        "touch /tmp/f && chown 1:1 /tmp/f",
        "hostname other",
        "echo other > /proc/sys/kernel/hostname",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "mkdir /sys/fs/cgroup/new",
        "ip link add dummy type dummy",
        "ip link set lo down",
        "nc -w 1 127.0.0.1 22 < /dev/null",
        "ping -c 1 -W 1 192.0.2.1",
        "dmesg",
        "adjtimex -f 1",
        "renice -n -5 $$",
        "readlink /proc/1/fd/3",
        "cat /proc/1/environ",
        ": < /proc/1/mem",
        "ls /proc/1/root",
        "dd if=/dev/kmsg of=/dev/null count=1",
    ] {
        let error = fails(&session, command).await;
        assert!(!error.contains("not found"), "{command}: {error}");
    }
    // Its own place is there all the same.
    says(
        &session,
        "for d in /tmp /run /var/tmp /dev/shm; do echo > $d/file; done",
    )
    .await;
    // PID 1 of a namespace is not to be killed from within.
    says(&session, "kill -9 1; kill -STOP 1; true").await;
    assert_eq!(looked_at(&session).await.0, State::Ready);
}

#[tokio::test]
async fn a_dev_session_has_the_capabilities_of_a_package_manager() {
    let site = site();
    let sessions = site.sessions();
    let dev = |s: &mut axo_session::SessionSpec| s.profile = Profile::Dev;
    let session = site.create(&sessions, dev).await.unwrap();
    let status = says(&session, "cat /proc/self/status").await;
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE.
    assert_eq!(value(&status, "CapBnd"), "00000000000004fb");
    assert_eq!(value(&status, "CapEff"), "00000000000004fb");
    assert_eq!(value(&status, "NoNewPrivs"), "1");
    assert_eq!(value(&status, "Seccomp"), "2");
    says(&session, "echo new > /etc/new && chown 5:5 /etc/new").await;
    for command in [
        "mount -t tmpfs none /mnt",
        "unshare -U true",
        "unshare -m true",
        "chroot / /bin/true",
        "mknod /tmp/device b 1 1",
        "ip link set lo down",
        "echo > /axocoatl/agent",
    ] {
        fails(&session, command).await;
    }

    // The image is everybody's: what one session writes is its own.
    let other = site.create(&sessions, dev).await.unwrap();
    fails(&other, "cat /etc/new").await;
}

#[tokio::test]
async fn a_directory_of_the_host_is_the_one_that_was_named() {
    let site = site();
    let sessions = site.sessions();
    let work = site.path().canonicalize().unwrap().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("in"), "from the host").unwrap();
    let session = site
        .create(&sessions, |s| s.directory = Some(work.clone()))
        .await
        .unwrap();
    let place = says(&session, "pwd").await;
    assert_eq!(place.trim_end(), work.to_str().unwrap());
    assert_eq!(
        says(&session, "cat in; echo back > out").await,
        "from the host"
    );
    assert_eq!(std::fs::read_to_string(work.join("out")).unwrap(), "back\n");
    // Nothing beside it.
    assert_eq!(says(&session, "ls ..").await, "work\n");
    fails(&session, "mknod device c 1 3").await;
}
