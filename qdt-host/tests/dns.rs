//! Name servers through a recording stand-in for `resolvectl`, and in a real resolv.conf.
//!
//! No privilege is needed: the file and the program are given by path. `lo` stands for the device
//! of a tunnel that is up, since it exists everywhere; `gone0` for one that has disappeared.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use qdt_host::{Dns, DnsError, DnsPaths, DnsPlan, DnsRepair, HostDns};
use tempfile::TempDir;

const ORIGINAL: &str = "# from DHCP\nsearch lan\nnameserver 192.168.1.1\noptions edns0\n";
/// The resolv.conf of systemd-resolved, as far as it matters.
const STUB: &str = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
/// The resolv.conf of a DHCP client on another network.
const NEWER: &str = "# from DHCP\nsearch cafe\nnameserver 172.20.0.1\n";

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

    /// With a systemd-resolved that programs use, and a stand-in for `resolvectl` that records its
    /// arguments, each in brackets, and fails when its first one is `failing`.
    fn with_resolved(failing: &str) -> Self {
        let mut host = Self::with_file();
        host.write(STUB);
        let program = host.path("resolvectl");
        let log = host.path("calls");
        let script = format!(
            "#!/bin/sh\nprintf '[%s]' \"$@\" >> {log}; echo >> {log}\n\
             if [ -e {hangs} ]; then /bin/sleep 600; fi\n\
             if [ \"$1\" = '{failing}' ]; then echo 'Failed to set: no' >&2; exit 1; fi\n",
            log = log.display(),
            hangs = host.path("hangs").display()
        );
        fs::write(&program, script).expect("a program can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        host._resolved = Some(UnixListener::bind(host.path("resolved")).expect("a socket"));
        host
    }

    /// Makes `resolvectl` hang from now on.
    fn hang(&self) {
        fs::write(self.path("hangs"), "").expect("a file");
    }

    fn answer_again(&self) {
        fs::remove_file(self.path("hangs")).expect("it hung");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn paths(&self) -> DnsPaths {
        DnsPaths {
            resolv_conf: self.path("resolv.conf"),
            backup: self.path("resolv.conf.qdt-backup"),
            nsswitch: self.path("nsswitch.conf"),
            upstreams: vec![self.path("upstream")],
            resolved_socket: self.path("resolved"),
            programs: self.directory.path().into(),
        }
    }

    fn dns(&self) -> HostDns {
        HostDns::at(self.paths())
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

    /// Returns the content of the directory.
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
        servers: servers
            .iter()
            .map(|server| server.parse().expect("an address"))
            .collect(),
    }
}

/// Lets the time pass after which a failed call is retried.
async fn half_a_minute_passes() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
}

fn nameservers(content: &str) -> Vec<&str> {
    content
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
}

#[tokio::test]
async fn the_file_names_the_servers_while_the_tunnel_is_up_and_is_restored() {
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
async fn a_crash_during_a_write_loses_nothing() {
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
async fn what_another_program_wrote_meanwhile_stays() {
    let host = Host::with_file();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    host.write("nameserver 9.9.9.9\n");
    host.dns().remove("lo").await.unwrap();
    assert_eq!(host.read(), "nameserver 9.9.9.9\n");
    assert_eq!(host.files(), ["resolv.conf"]);

    // And it is what is restored later.
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
async fn new_servers_replace_the_old_ones_and_the_original_is_kept() {
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
async fn a_file_that_did_not_exist_is_removed_again() {
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
async fn the_file_of_another_tunnel_that_is_up_is_not_touched() {
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
        backup: backup.clone(),
        ..host.paths()
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
async fn where_programs_use_systemd_resolved_it_is_configured_and_the_file_is_not_touched() {
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
    assert_eq!(host.read(), STUB);
}

#[tokio::test]
async fn half_a_setting_in_systemd_resolved_is_reverted() {
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
async fn a_resolvectl_that_hangs_is_killed_with_what_it_started() {
    let host = Host::with_resolved("nothing");
    let pid = host.path("pid");
    let script = format!(
        "#!/bin/sh\n/bin/sleep 600 & echo $! >{}; wait\n",
        pid.display()
    );
    fs::write(host.path("resolvectl"), script).unwrap();
    let dns = host.dns();
    let plan = plan("lo", &["10.8.0.1"]);
    let installed = tokio::time::timeout(Duration::from_secs(60), dns.install(&plan)).await;
    let error = installed.expect("it does not wait forever").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not answered `resolvectl` within 4s"),
        "{error}"
    );
    let pid = fs::read_to_string(&pid).unwrap();
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs() {
        assert!(Instant::now() < deadline, "what it started runs on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_resolvectl_that_hung_once_gets_the_servers_half_a_minute_later() {
    let host = Host::with_resolved("nothing");
    host.hang();
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    {
        // A caller that gives up before the answer.
        let mut installing = std::pin::pin!(dns.install(&tunnel));
        let called = async {
            while host.calls().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            result = &mut installing => panic!("it hangs: {result:?}"),
            called = tokio::time::timeout(Duration::from_secs(60), called) => {
                called.expect("resolvectl is called");
            }
        }
    }
    host.answer_again();
    assert_eq!(dns.check_and_repair(&tunnel).await.unwrap(), None);
    assert_eq!(host.calls().len(), 1, "not at every check");
    half_a_minute_passes().await;
    assert_eq!(
        dns.check_and_repair(&tunnel).await.unwrap(),
        Some(DnsRepair::Installed)
    );
    let set = ["[dns][lo][10.8.0.1]", "[domain][lo][~.]"];
    assert_eq!(host.calls()[1..3], set);
}

#[tokio::test]
async fn a_service_that_hangs_once_programs_use_it_is_one_error_and_called_twice_a_minute() {
    let host = Host::with_resolved("nothing");
    host.write(ORIGINAL);
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    dns.install(&tunnel).await.unwrap();
    host.write(STUB);
    host.hang();
    let error = dns.check_and_repair(&tunnel).await.unwrap_err();
    assert!(matches!(error, DnsError::NoAnswer { .. }), "{error}");
    let asked = host.calls().len();
    for _ in 0..10 {
        assert_eq!(dns.check_and_repair(&tunnel).await.unwrap(), None);
    }
    assert_eq!(host.calls().len(), asked, "it is left alone");
    half_a_minute_passes().await;
    assert_eq!(dns.check_and_repair(&tunnel).await.unwrap(), None);
    assert!(host.calls().len() > asked, "and asked again");
}

#[tokio::test]
async fn a_file_changed_before_systemd_resolved_started_is_still_restored() {
    let host = Host::with_resolved("nothing");
    let without = HostDns::at(DnsPaths {
        resolved_socket: host.path("nobody-listens"),
        ..host.paths()
    });
    without.install(&plan("lo", &["10.8.0.1"])).await.unwrap();
    assert_ne!(host.read(), STUB);
    host.dns().restore_leftovers("lo").await.unwrap();
    assert_eq!(host.read(), STUB);
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

#[tokio::test]
async fn where_systemd_resolved_runs_unused_the_file_is_changed() {
    for content in [
        ORIGINAL,
        "nameserver 127.0.0.53\nnameserver 192.168.1.1\n",
        "",
    ] {
        let host = Host::with_resolved("nothing");
        host.write(content);
        fs::write(host.path("nsswitch.conf"), "hosts: files dns resolve\n").unwrap();
        let dns = host.dns();
        dns.install(&plan("lo", &["10.8.0.1"])).await.unwrap();
        assert_eq!(nameservers(&host.read()), ["nameserver 10.8.0.1"]);
        assert_eq!(host.calls(), Vec::<String>::new());
        dns.remove("lo").await.unwrap();
        assert_eq!(host.read(), content);
    }
}

#[tokio::test]
async fn where_nsswitch_sends_programs_to_systemd_resolved_the_file_says_nothing() {
    let host = Host::with_resolved("nothing");
    host.write(ORIGINAL);
    let nsswitch = "passwd: files\nhosts: files myhostname resolve [!UNAVAIL=return] dns\n";
    fs::write(host.path("nsswitch.conf"), nsswitch).unwrap();
    host.dns()
        .install(&plan("lo", &["10.8.0.1"]))
        .await
        .unwrap();
    assert_eq!(host.calls()[0], "[dns][lo][10.8.0.1]");
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn a_read_only_file_is_an_error_at_once_and_leaves_nothing_behind() {
    let host = Host::with_file();
    fs::remove_file(host.path("resolv.conf")).unwrap();
    // Not even root may write this one.
    std::os::unix::fs::symlink("/proc/sys/kernel/ostype", host.path("resolv.conf")).unwrap();
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    let error = dns.install(&tunnel).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DnsError::NotWritable { .. }), "{text}");
    assert!(text.contains("resolv.conf: "), "{text}");
    assert_eq!(host.files(), ["resolv.conf"]);
    assert_eq!(dns.check_and_repair(&tunnel).await.unwrap(), None);
    dns.remove("lo").await.unwrap();
    assert_eq!(host.files(), ["resolv.conf"]);

    // Once it is writable, programs use the tunnel's servers.
    dns.install(&tunnel).await.unwrap_err();
    fs::remove_file(host.path("resolv.conf")).unwrap();
    host.write(ORIGINAL);
    assert_eq!(
        dns.check_and_repair(&tunnel).await.unwrap(),
        Some(DnsRepair::Installed)
    );
    dns.remove("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn a_backup_of_a_file_that_was_never_changed_does_not_stay() {
    let host = Host::with_file();
    // As after a crash between the backup and the change of a read-only file.
    let unwritable = "/proc/sys/kernel/ostype";
    fs::remove_file(host.path("resolv.conf")).unwrap();
    std::os::unix::fs::symlink(unwritable, host.path("resolv.conf")).unwrap();
    let mut backup = b"qdt backup of resolv.conf, version 1: a file\n".to_vec();
    backup.extend(fs::read(unwritable).unwrap());
    fs::write(host.path("resolv.conf.qdt-backup"), backup).unwrap();
    host.dns().restore_leftovers("lo").await.unwrap();
    assert_eq!(host.files(), ["resolv.conf"]);
}

#[tokio::test]
async fn what_a_dhcp_client_writes_is_replaced_and_restored_at_the_end() {
    let shorter = &ORIGINAL[..ORIGINAL.find("options").unwrap()];
    for newer in [NEWER, shorter, "nameserver 10.8.0.1\n"] {
        // Once in place, once by another file that takes its name.
        for renamed in [false, true] {
            let host = Host::with_file();
            let dns = host.dns();
            let tunnel = plan("lo", &["10.8.0.1"]);
            dns.install(&tunnel).await.unwrap();
            assert_eq!(dns.check_and_repair(&tunnel).await.unwrap(), None);
            if renamed {
                fs::write(host.path("new"), newer).unwrap();
                fs::rename(host.path("new"), host.path("resolv.conf")).unwrap();
            } else {
                host.write(newer);
            }
            let path = host.path("resolv.conf");
            assert_eq!(
                dns.check_and_repair(&tunnel).await.unwrap(),
                Some(DnsRepair::PutBack { path })
            );
            assert!(host.read().starts_with("# written by qdt-client"));
            assert_eq!(nameservers(&host.read()), ["nameserver 10.8.0.1"]);
            assert_eq!(dns.check_and_repair(&tunnel).await.unwrap(), None);
            dns.remove("lo").await.unwrap();
            assert_eq!(host.read(), newer);
            assert_eq!(host.files(), ["resolv.conf"]);
        }
    }
}

#[tokio::test]
async fn after_a_crash_the_newest_content_of_the_host_is_restored() {
    let host = Host::with_file();
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    dns.install(&tunnel).await.unwrap();
    host.write(NEWER);
    dns.check_and_repair(&tunnel).await.unwrap();
    host.dns().restore_leftovers("lo").await.unwrap();
    assert_eq!(host.read(), NEWER);
}

#[tokio::test]
async fn a_file_that_is_gone_or_empty_is_about_to_be_written_and_its_backup_stays() {
    for emptied in [false, true] {
        let host = Host::with_file();
        let dns = host.dns();
        let tunnel = plan("lo", &["10.8.0.1"]);
        dns.install(&tunnel).await.unwrap();
        if emptied {
            host.write("");
        } else {
            fs::remove_file(host.path("resolv.conf")).unwrap();
        }
        assert!(dns.check_and_repair(&tunnel).await.unwrap().is_some());
        assert_eq!(nameservers(&host.read()), ["nameserver 10.8.0.1"]);
        dns.remove("lo").await.unwrap();
        assert_eq!(host.read(), ORIGINAL);
    }
}

#[tokio::test]
async fn a_link_that_takes_the_place_of_the_file_stays_one() {
    let host = Host::with_file();
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    dns.install(&tunnel).await.unwrap();
    fs::write(host.path("managed"), NEWER).unwrap();
    fs::remove_file(host.path("resolv.conf")).unwrap();
    std::os::unix::fs::symlink("managed", host.path("resolv.conf")).unwrap();
    assert!(dns.check_and_repair(&tunnel).await.unwrap().is_some());
    let managed = || fs::read_to_string(host.path("managed")).unwrap();
    assert_eq!(nameservers(&managed()), ["nameserver 10.8.0.1"]);
    dns.remove("lo").await.unwrap();
    assert_eq!(managed(), NEWER);
    assert_eq!(host.files(), ["managed", "resolv.conf"]);
    let link = fs::symlink_metadata(host.path("resolv.conf")).unwrap();
    assert!(link.is_symlink());
}

#[tokio::test]
async fn a_program_that_writes_the_file_again_and_again_is_one_error() {
    let host = Host::with_file();
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    dns.install(&tunnel).await.unwrap();
    for _ in 0..3 {
        host.write(NEWER);
        assert!(dns.check_and_repair(&tunnel).await.unwrap().is_some());
    }
    host.write(NEWER);
    let error = dns.check_and_repair(&tunnel).await.unwrap_err().to_string();
    let path = host.path("resolv.conf").display().to_string();
    assert!(error.contains(&path), "{error}");
    assert_eq!(host.read(), NEWER);
    assert_eq!(dns.check_and_repair(&tunnel).await.unwrap(), None);
    dns.remove("lo").await.unwrap();
    assert_eq!(host.read(), NEWER);
    assert_eq!(host.files(), ["resolv.conf"]);
}

#[tokio::test]
async fn a_second_tunnel_gets_the_file_once_the_first_releases_it() {
    let host = Host::with_file();
    let (first, second) = (host.dns(), host.dns());
    let (one, two) = (plan("lo", &["10.8.0.1"]), plan("gone0", &["10.9.0.1"]));
    first.install(&one).await.unwrap();
    second.install(&two).await.unwrap_err();
    assert_eq!(second.check_and_repair(&two).await.unwrap(), None);
    assert_eq!(first.check_and_repair(&one).await.unwrap(), None);
    first.remove("lo").await.unwrap();
    assert_eq!(
        second.check_and_repair(&two).await.unwrap(),
        Some(DnsRepair::Installed)
    );
    assert_eq!(nameservers(&host.read()), ["nameserver 10.9.0.1"]);
    second.remove("gone0").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);

    // The waiting one ends first.
    first.install(&one).await.unwrap();
    second.install(&two).await.unwrap_err();
    second.remove("gone0").await.unwrap();
    assert_eq!(nameservers(&host.read()), ["nameserver 10.8.0.1"]);
    first.remove("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
    assert_eq!(host.files(), ["resolv.conf"]);
}

#[tokio::test]
async fn a_service_that_programs_use_from_now_on_gets_the_servers() {
    // An administrator links the stub's file while the tunnel is up.
    let host = Host::with_resolved("nothing");
    host.write(ORIGINAL);
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    dns.install(&tunnel).await.unwrap();
    host.write(STUB);
    assert_eq!(
        dns.check_and_repair(&tunnel).await.unwrap(),
        Some(DnsRepair::Installed)
    );
    assert_eq!(host.calls()[0], "[dns][lo][10.8.0.1]");
    assert_eq!(host.read(), STUB);

    // And the reverse.
    host.write(NEWER);
    assert_eq!(
        dns.check_and_repair(&tunnel).await.unwrap(),
        Some(DnsRepair::Installed)
    );
    assert_eq!(nameservers(&host.read()), ["nameserver 10.8.0.1"]);
    dns.remove("lo").await.unwrap();
    assert_eq!(host.read(), NEWER);
    assert_eq!(host.calls().last().unwrap(), "[revert][lo]");
}

#[tokio::test]
async fn a_file_of_another_owner_in_a_world_writable_directory_is_written() {
    let host = Host::with_file();
    let everybody = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(host.directory.path(), everybody).unwrap();
    if std::os::unix::fs::chown(host.path("resolv.conf"), Some(12_345), None).is_err() {
        // Only root can give a file away; others have only their own files to change here.
        return;
    }
    let dns = host.dns();
    dns.install(&plan("lo", &["10.8.0.1"])).await.unwrap();
    assert_eq!(nameservers(&host.read()), ["nameserver 10.8.0.1"]);
    dns.remove("lo").await.unwrap();
    assert_eq!(host.read(), ORIGINAL);
}

#[tokio::test]
async fn the_servers_of_the_host_are_known_while_a_tunnel_has_changed_them() {
    let servers = |dns: &HostDns| -> Vec<String> {
        let servers = dns.host_resolvers().servers;
        servers.iter().map(ToString::to_string).collect()
    };
    let host = Host::with_file();
    let dns = host.dns();
    let tunnel = plan("lo", &["10.8.0.1"]);
    assert_eq!(servers(&dns), ["192.168.1.1:53"]);
    dns.install(&tunnel).await.unwrap();
    assert_eq!(servers(&dns), ["192.168.1.1:53"]);
    assert_eq!(dns.host_resolvers().search, ["lan"]);
    host.write(NEWER);
    assert_eq!(servers(&dns), ["172.20.0.1:53"]);
    dns.check_and_repair(&tunnel).await.unwrap();
    assert_eq!(servers(&dns), ["172.20.0.1:53"]);

    // Behind systemd-resolved, whose file names the servers of every interface.
    let host = Host::with_resolved("nothing");
    let dns = host.dns();
    fs::write(host.path("upstream"), "nameserver 192.168.1.1\n").unwrap();
    dns.install(&tunnel).await.unwrap();
    fs::write(
        host.path("upstream"),
        "nameserver 10.8.0.1\nnameserver 172.20.0.1\n",
    )
    .unwrap();
    assert_eq!(servers(&dns), ["172.20.0.1:53"]);
}
