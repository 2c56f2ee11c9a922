//! Name servers through a recording stand-in for `resolvectl`, and for real in a resolv.conf.
//!
//! No privilege is needed: the file and the program are given by path. `lo` stands for the device
//! of a tunnel that is up, since it exists everywhere; `gone0` for one that has disappeared.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
};

use qdt_host::{Dns, DnsError, DnsPaths, DnsPlan, HostDns};
use tempfile::TempDir;

const ORIGINAL: &str = "# from DHCP\nsearch lan\nnameserver 192.168.1.1\noptions edns0\n";

/// A directory with a resolv.conf and, if wished, a running systemd-resolved.
struct Host {
    directory: TempDir,
    _resolved: Option<UnixListener>,
}

impl Host {
    fn with_file() -> Self {
        let host = Self {
            directory: tempfile::tempdir().expect("a directory"),
            _resolved: None,
        };
        host.write(ORIGINAL);
        host
    }

    /// With a stand-in for `resolvectl` that records its arguments, each in brackets, and fails
    /// when its first one is `failing`.
    fn with_resolved(failing: &str) -> Self {
        let mut host = Self::with_file();
        let program = host.path("resolvectl");
        let log = host.path("calls");
        let script = format!(
            "#!/bin/sh\nprintf '[%s]' \"$@\" >> {log}; echo >> {log}\n\
             if [ \"$1\" = '{failing}' ]; then echo 'Failed to set: no' >&2; exit 1; fi\n",
            log = log.display()
        );
        fs::write(&program, script).expect("a program can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        host._resolved = Some(UnixListener::bind(host.path("resolved")).expect("a socket"));
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn dns(&self) -> HostDns {
        HostDns::at(DnsPaths {
            resolv_conf: self.path("resolv.conf"),
            backup: self.path("resolv.conf.qdt-backup"),
            resolved_socket: self.path("resolved"),
            programs: self.directory.path().into(),
        })
    }

    fn write(&self, content: &str) {
        fs::write(self.path("resolv.conf"), content).expect("the file can be written");
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path("resolv.conf")).expect("there is a file")
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// What is in the directory, to see that nothing stays behind.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).expect("a directory");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }
}

fn plan(tun: &str, servers: &[&str]) -> DnsPlan {
    DnsPlan {
        tun: tun.to_owned(),
        servers: qdt_host::parse_servers(servers).expect("addresses"),
    }
}

fn nameservers(content: &str) -> Vec<&str> {
    content
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
}

#[tokio::test]
async fn the_file_names_the_servers_while_the_tunnel_is_up_and_is_given_back() {
    let host = Host::with_file();
    fs::set_permissions(host.path("resolv.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    host.dns()
        .install(&plan("lo", &["10.8.0.1", "2001:db8::1"]))
        .await
        .unwrap();
    assert_eq!(
        nameservers(&host.read()),
        ["nameserver 10.8.0.1", "nameserver 2001:db8::1"]
    );
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
    assert_eq!(host.files(), ["resolv.conf"]);
    let mode = fs::metadata(host.path("resolv.conf"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    host.dns().remove("lo").await.unwrap();
    assert_eq!(
        host.read(),
        ORIGINAL,
        "giving back twice is giving back once"
    );
}

#[tokio::test]
async fn the_file_is_written_in_place_so_that_a_bind_mount_or_a_link_stays_one() {
    let host = Host::with_file();
    fs::rename(host.path("resolv.conf"), host.path("real")).unwrap();
    std::os::unix::fs::symlink("real", host.path("resolv.conf")).unwrap();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    assert!(
        fs::symlink_metadata(host.path("resolv.conf"))
            .unwrap()
            .is_symlink()
    );
    assert!(
        fs::read_to_string(host.path("real"))
            .unwrap()
            .contains("10.8.0.1")
    );
    host.dns().remove("lo").await.unwrap();
    assert_eq!(fs::read_to_string(host.path("real")).unwrap(), ORIGINAL);
    assert_eq!(host.files(), ["real", "resolv.conf"]);
}

#[tokio::test]
async fn resolv_conf_is_restored_after_a_crash() {
    let host = Host::with_file();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    host.dns().restore_leftovers("lo").await.unwrap();
    assert_eq!(
        (host.read().as_str(), host.files()),
        (ORIGINAL, vec!["resolv.conf".to_owned()])
    );

    // Also when the device had another name, which is gone with the run.
    host.dns()
        .install(&plan("gone0", &["10.8.0.1"]))
        .await
        .unwrap();
    host.dns().restore_leftovers("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn a_crash_in_the_middle_of_writing_loses_nothing() {
    for torn in ["", "# written by qdt-", "# from DHCP\nsearch l"] {
        let host = Host::with_file();
        host.dns()
            .install(&plan("lo", &["10.8.0.1"]))
            .await
            .unwrap();
        host.write(torn);
        host.dns().restore_leftovers("lo").await.unwrap();
        assert_eq!(host.read(), ORIGINAL, "{torn:?}");

        host.dns()
            .install(&plan("lo", &["10.8.0.1"]))
            .await
            .unwrap();
        host.write(torn);
        host.dns()
            .install(&plan("lo", &["10.8.0.2"]))
            .await
            .unwrap();
        host.dns().remove("lo").await.unwrap();
        assert_eq!(host.read(), ORIGINAL, "{torn:?}");
    }
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_stays() {
    let host = Host::with_file();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    host.write("nameserver 9.9.9.9\n");
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.read(), "nameserver 9.9.9.9\n");
    assert_eq!(host.files(), ["resolv.conf"]);

    // And it is what is given back later.
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    host.write("nameserver 1.1.1.1\n");
    host.dns()
        .install(&plan("lo", &["10.8.0.2"]))
        .await
        .unwrap();
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.read(), "nameserver 1.1.1.1\n");
}

#[tokio::test]
async fn new_servers_take_the_place_of_the_old_ones_and_the_original_is_kept() {
    let host = Host::with_file();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    host.dns()
        .install(&plan("lo", &["10.8.0.2"]))
        .await
        .unwrap();
    assert_eq!(nameservers(&host.read()), ["nameserver 10.8.0.2"]);
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn a_file_that_was_not_there_is_gone_again() {
    let host = Host::with_file();
    fs::remove_file(host.path("resolv.conf")).unwrap();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    assert!(host.read().contains("10.8.0.1"));
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.files(), Vec::<String>::new());

    // A link into nowhere stays a link into nowhere.
    std::os::unix::fs::symlink("real", host.path("resolv.conf")).unwrap();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.files(), ["resolv.conf"]);
    assert!(
        fs::symlink_metadata(host.path("resolv.conf"))
            .unwrap()
            .is_symlink()
    );
}

#[tokio::test]
async fn the_file_of_another_tunnel_that_is_up_is_left_to_it() {
    let host = Host::with_file();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    let held = host.read();
    let error = host
        .dns()
        .install(&plan("qdt9", &["10.9.0.1"]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DnsError::Held { tun, .. } if tun == "lo"),
        "{error}"
    );
    host.dns().restore_leftovers("qdt9").await.unwrap();
    host.dns().remove("qdt9").await.unwrap();
    assert_eq!(host.read(), held);
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_leaves_the_file_alone() {
    let host = Host::with_file();
    let backup = host.path("missing/backup");
    let paths = DnsPaths {
        resolv_conf: host.path("resolv.conf"),
        backup: backup.clone(),
        resolved_socket: host.path("resolved"),
        programs: host.directory.path().into(),
    };
    let error = HostDns::at(paths)
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "dns: cannot write the backup {}: No such file or directory (os error 2)",
            backup.display()
        )
    );
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn where_systemd_resolved_runs_it_is_told_and_the_file_is_not_touched() {
    let host = Host::with_resolved("nothing");
    host.dns()
        .install(&plan("lo", &["10.8.0.1", "2001:db8::1"]))
        .await
        .unwrap();
    host.dns().remove("lo").await.unwrap();
    assert_eq!(
        host.calls(),
        [
            "[dns][lo][10.8.0.1][2001:db8::1]",
            "[domain][lo][~.]",
            "[default-route][lo][yes]",
            "[revert][lo]"
        ]
    );
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn half_a_setting_in_systemd_resolved_is_taken_back() {
    let host = Host::with_resolved("domain");
    let error = host
        .dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "dns: `resolvectl domain` failed: Failed to set: no"
    );
    assert_eq!(host.calls().last().unwrap(), "[revert][lo]");
}

#[tokio::test]
async fn a_file_changed_before_systemd_resolved_came_is_still_given_back() {
    let host = Host::with_resolved("nothing");
    let without = HostDns::at(DnsPaths {
        resolv_conf: host.path("resolv.conf"),
        backup: host.path("resolv.conf.qdt-backup"),
        resolved_socket: host.path("nobody-listens"),
        programs: host.directory.path().into(),
    });
    without.install(&plan("lo", &["10.8.0.1"])).await.unwrap();
    assert_ne!(host.read(), ORIGINAL);
    host.dns().restore_leftovers("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn a_device_name_that_could_be_an_option_never_reaches_a_command() {
    let host = Host::with_resolved("nothing");
    let error = host
        .dns()
        .install(&plan("--help", &["10.8.0.1"]))
        .await
        .unwrap_err();
    assert!(matches!(error, DnsError::Name(_)), "{error}");
    assert!(matches!(
        host.dns().remove("-h").await,
        Err(DnsError::Name(_))
    ));
    assert!(matches!(
        host.dns().install(&plan("lo", &[])).await,
        Err(DnsError::Empty)
    ));
    assert_eq!(host.calls(), Vec::<String>::new());
}
